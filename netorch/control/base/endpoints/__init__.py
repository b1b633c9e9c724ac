"""Decisions about endpoints that commands and plans share."""
