"""Services of hypervisors to instances: names, DHCP, metadata."""
