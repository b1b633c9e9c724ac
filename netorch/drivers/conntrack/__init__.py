"""Connection tracking: what the kernel knows of flows, and what it logs of dropped packets."""
