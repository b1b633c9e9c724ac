"""BIRD, the routing daemon, driven as a kernel is: dump, operations, events."""
