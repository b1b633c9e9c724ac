"""Agents of hypervisors and the gateways on edges."""
