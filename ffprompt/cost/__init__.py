"""Cost: the tokens that calls use, and what they cost."""
