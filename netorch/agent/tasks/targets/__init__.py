"""Checks of the targets of endpoint services."""
