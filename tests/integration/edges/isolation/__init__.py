"""Who reaches whom through a pair of edges."""
