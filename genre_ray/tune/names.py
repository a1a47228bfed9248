"""Names that the parts of a search share. Knows nothing else."""

VARIANT = "variant"
"""The parameter that chooses among the variants of a search file."""
