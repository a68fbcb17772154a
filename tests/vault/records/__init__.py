"""Tests of patients, the inbox and the catalogue."""
