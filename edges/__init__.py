"""Edges: what stands between a VPC and the outside."""
