"""Actions on access to the outside: pools of public addresses, gateways, elastic IP addresses."""
