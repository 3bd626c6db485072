"""The Python interface: evaluate a model, and look at a run as tables."""
