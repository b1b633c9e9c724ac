"""Gateways that move between the edges of a pair, with real packets."""
