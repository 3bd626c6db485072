"""Backends: what stands between a request and a model."""
