"""Plan access to the outside: pools, gateways, public addresses."""
