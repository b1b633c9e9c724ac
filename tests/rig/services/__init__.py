"""Servers and processes for tests of what serves instances."""
