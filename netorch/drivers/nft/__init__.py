"""nftables: whole tables through libnftables, their contents through nf_tables netlink."""
