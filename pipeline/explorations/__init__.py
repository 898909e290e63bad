"""What people do with a trained model: one procedure a file, pictures and a record out."""
