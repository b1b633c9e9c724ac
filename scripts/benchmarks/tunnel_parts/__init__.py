"""What the benchmark of tunnels is made of: connections, charons, agents and packets."""
