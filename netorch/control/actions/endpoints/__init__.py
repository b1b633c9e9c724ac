"""Endpoints: services, VPCs' endpoints for them, and buckets."""
