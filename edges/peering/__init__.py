"""Peering connections on edges."""
