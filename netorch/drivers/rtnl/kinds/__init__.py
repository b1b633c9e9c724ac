"""Kinds of devices, each made in its own way."""
