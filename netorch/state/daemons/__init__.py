"""The configuration of an edge's daemons, as objects: drivers treat a daemon like a kernel."""
