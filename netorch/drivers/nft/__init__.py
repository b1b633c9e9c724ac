"""nftables: whole tables through libnftables, what stands in them through nf_tables netlink."""
