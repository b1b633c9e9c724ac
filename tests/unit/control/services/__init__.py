"""What instances are told: options of DHCP, metadata."""
