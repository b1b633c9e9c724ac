"""Endpoints: services, the ways of VPCs to them, and buckets."""
