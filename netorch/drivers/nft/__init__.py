"""nftables: whole tables through libnftables, elements of sets and maps through nf_tables netlink."""
