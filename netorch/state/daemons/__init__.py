"""What daemons of an edge are told, as objects: they are driven as a kernel is."""
