"""Scoring: from a model's reply to an outcome for each read, and from outcomes to a row of the table."""
