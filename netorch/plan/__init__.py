"""Desired minus actual = ordered operations. Pure."""
