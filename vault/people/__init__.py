"""The vault's people."""
