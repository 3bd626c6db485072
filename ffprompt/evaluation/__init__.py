"""Evaluation: plan the trials of a run, ask the model, log every answer, and compute the table."""
