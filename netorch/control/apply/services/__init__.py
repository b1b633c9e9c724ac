"""What makes the options of DHCP as declared."""
