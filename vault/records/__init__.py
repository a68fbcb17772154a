"""The vault's records."""
