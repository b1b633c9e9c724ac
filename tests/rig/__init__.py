"""What root tests stand on: hosts of namespaces and bridges, crafted packets, senders and listeners."""
