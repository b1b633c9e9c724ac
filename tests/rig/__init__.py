"""Shared parts of the root tests: hosts made of namespaces and bridges, crafted packets, senders and listeners."""
