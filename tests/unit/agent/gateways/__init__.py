"""Gateways on edges, as agents of hypervisors see them."""
