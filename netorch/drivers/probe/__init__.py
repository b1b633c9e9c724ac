"""Probe packets sent by netorch itself, to find out what arrives."""
