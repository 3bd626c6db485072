"""Export of reference models to the formats of other libraries."""
