"""Edges: gateways between VPCs and the outside."""
