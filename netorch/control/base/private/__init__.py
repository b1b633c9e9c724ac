"""What actions and plans share about private networks elsewhere: VPN and Direct Connect."""
