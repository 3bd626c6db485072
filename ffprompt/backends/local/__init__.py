"""Backends that load a model on this machine."""
