"""Running NAT gateways."""
