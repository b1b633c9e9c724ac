"""Direct Connect: what commands and files make of it."""
