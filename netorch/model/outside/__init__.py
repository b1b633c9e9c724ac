"""External connectivity of a VPC: gateways, public addresses, VPN and Direct Connect."""
