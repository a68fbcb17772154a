"""Upkeep: the checks and long-running work that keep a vault well. It must not know HTTP."""
