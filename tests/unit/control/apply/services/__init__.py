"""Services that a file declares."""
