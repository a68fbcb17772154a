"""Tests of recognition and rendering."""
