"""Actions on what instances get from netorch's services: DHCP options, metadata, DNS zones."""
