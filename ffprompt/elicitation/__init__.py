"""Elicitations: how the reads of a string are asked."""
