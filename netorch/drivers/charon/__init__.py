"""charon, strongSwan's IKE daemon, with the interface of a kernel driver."""
