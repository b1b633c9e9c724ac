"""Plan customer gateways and VPN connections as a file declares them."""
