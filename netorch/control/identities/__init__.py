"""Identities of hosts and operators: who may read and write what, joining, renewal, revocation."""
