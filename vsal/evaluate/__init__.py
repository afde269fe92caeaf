"""How good masks and encodes are."""
