"""The commands of private networks elsewhere."""
