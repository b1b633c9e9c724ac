"""Customers' private networks: gateways, devices, connections."""
