"""Settings of runs, and suites of runs."""
