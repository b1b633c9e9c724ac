"""Endpoints: services, the ways of VPCs to them, and who may use a bucket."""
