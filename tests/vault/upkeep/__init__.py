"""Tests of vault.upkeep."""
