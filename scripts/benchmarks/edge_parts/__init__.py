"""What the benchmark of edges is made of: records, topologies, traffic and changes."""
