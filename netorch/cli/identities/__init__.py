"""Identities on the command line: what several commands share."""
