"""Backends that call a model behind an API."""
