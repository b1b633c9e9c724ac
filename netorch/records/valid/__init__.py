"""Checks of stored records."""
