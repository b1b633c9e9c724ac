"""Connection tracking: the kernel's conntrack table, its events, and its log of dropped packets."""
