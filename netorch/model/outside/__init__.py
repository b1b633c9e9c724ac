"""What a VPC has towards the outside: gateways and public addresses."""
