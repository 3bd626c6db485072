"""Experiment trackers: runs, gates and trainings as entries of MLflow or Weights & Biases, by their own clients."""
