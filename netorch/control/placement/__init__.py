"""Placement: which host carries a new instance, and the evacuation of hosts."""
