"""Tests of vault/sealing."""
