"""What the hooks of a kernel do with a packet: tables of nftables, filters of devices."""
