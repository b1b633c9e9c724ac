"""Edges and their pairs."""
