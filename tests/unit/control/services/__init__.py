"""DHCP options, private zones and metadata of instances."""
