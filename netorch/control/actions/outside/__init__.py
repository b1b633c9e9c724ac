"""What leads outside: pools of public addresses, internet gateways, elastic IP addresses."""
