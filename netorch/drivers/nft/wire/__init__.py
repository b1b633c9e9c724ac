"""nf_tables netlink by hand: what libnftables would take time for that grows with the tables."""
