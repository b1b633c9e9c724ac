"""The data of a host's services for instances: DHCP options, metadata, DNS names."""
