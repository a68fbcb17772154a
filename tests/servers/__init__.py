"""Real servers for tests, each started by a fixture of tests/conftest.py and stopped with it."""
