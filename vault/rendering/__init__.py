"""The vault's rendering."""
