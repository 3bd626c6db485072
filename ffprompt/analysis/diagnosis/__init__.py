"""Where heads of attention look at reads, and what that has to do with errors."""
