"""Training of reference models, and studies of many trainings."""
