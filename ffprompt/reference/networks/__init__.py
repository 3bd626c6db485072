"""The networks of the reference models."""
