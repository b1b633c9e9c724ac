"""Direct Connect by commands and files."""
