"""The hooks of a kernel and their effect on a packet: tables of nftables, filters of devices."""
