"""Layers: the parts of networks. No layer knows a design."""
