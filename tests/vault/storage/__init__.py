"""Tests of vault/storage."""
