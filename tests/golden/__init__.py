"""Runs that were recorded once and must stay as they are: prompts, strings, answers, outcomes, scores and numbers."""
