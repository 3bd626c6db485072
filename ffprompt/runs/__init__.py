"""Runs on disk: the folder, the log, and the journal of batches."""
