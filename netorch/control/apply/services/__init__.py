"""Plan DHCP options sets and private zones as declared."""
