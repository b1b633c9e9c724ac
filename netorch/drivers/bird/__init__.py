"""BIRD, the routing daemon, with the interface of a kernel driver: dump, operations, events."""
