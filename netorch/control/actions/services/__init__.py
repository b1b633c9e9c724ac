"""Actions about what instances are told: options of DHCP, metadata."""
