"""Hand-packed nf_tables netlink for operations that libnftables would slow down as the tables grow."""
