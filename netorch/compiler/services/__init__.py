"""What hypervisors serve to instances: names, DHCP, metadata."""
