"""Reachability through a pair of edges."""
