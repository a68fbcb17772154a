"""The vault's audit."""
