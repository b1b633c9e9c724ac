"""VPN connections with real daemons at both ends."""
