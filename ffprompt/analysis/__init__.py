"""Analysis of the errors in a run."""
