"""DHCP (RFC 2131): each interface gets its address and options. Pure except for the handler."""
