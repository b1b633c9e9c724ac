"""Identities: the certificates by which the store knows hosts and operators, and the tokens by which hosts join."""
