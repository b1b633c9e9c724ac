"""Code that actions and plans share for private networks elsewhere: VPN and Direct Connect."""
