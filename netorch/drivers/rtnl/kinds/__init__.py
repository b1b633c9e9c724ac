"""Kinds of devices, each with its own way of creation."""
