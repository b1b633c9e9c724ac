"""Where the records live: one protocol with etcd's semantics, and the back ends that keep it."""
