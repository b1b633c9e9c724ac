"""Endpoints: services, the endpoints by which VPCs reach them, and bucket policies."""
