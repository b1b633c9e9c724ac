"""Parts of the benchmark of agents: many of them on one etcd, the mappings in one, and moves between three."""
