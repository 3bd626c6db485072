"""Checkpoints of reference models, and the ones that ship with the package."""
