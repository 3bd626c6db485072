"""Templates: the files in ``prompts/`` that word the events of a task."""
