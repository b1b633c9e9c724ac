"""Relays TCP connections of interface endpoints to the targets of a service, and tells the targets their source."""
