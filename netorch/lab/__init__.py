"""Throw-away networks of hosts on one machine."""
