"""Parts of the tunnel benchmark: connections, charons, agents and packets."""
