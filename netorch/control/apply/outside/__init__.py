"""What a plan does about the outside: pools, internet gateways, public addresses."""
