"""Servers and processes for tests of the services for instances."""
