"""Gateways that keep state: the edge in use, and how they move to the other edge."""
