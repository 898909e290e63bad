"""Whether settings, data and machine fit each other, as far as it can be told before any work."""
