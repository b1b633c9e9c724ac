"""DHCP (RFC 2131): each interface is told what it has. Pure but for the handler."""
