"""Which edge gateways that keep state are at, and how they move."""
