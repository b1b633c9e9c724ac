"""The agent as a service of its machine: messages to the service manager, logging, and restoring the host at boot."""
