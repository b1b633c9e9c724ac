"""What the services of a host tell instances: options of DHCP, metadata."""
