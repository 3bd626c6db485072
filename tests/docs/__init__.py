"""The documentation: its commands run, its links lead somewhere, its generated pages are those of the code."""
