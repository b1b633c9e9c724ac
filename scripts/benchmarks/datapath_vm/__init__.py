"""What the data-path benchmark is made of: topologies and traffic."""
