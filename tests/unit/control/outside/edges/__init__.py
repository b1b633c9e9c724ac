"""Edges and their pairs: what is asked of them, and what they are given."""
