"""Clients' TLS, which the proxy forwards unchanged."""
