"""Private networks elsewhere: gateways, customers, connections."""
