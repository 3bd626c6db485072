"""ffprompt inside other evaluation harnesses, and their logs as runs of ffprompt."""
