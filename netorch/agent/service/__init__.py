"""The agent as a service of its machine: what it says to the service manager, how it logs, what it restores at boot."""
