"""NAT gateways at work."""
