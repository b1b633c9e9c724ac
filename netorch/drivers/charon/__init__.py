"""charon, strongSwan's IKE daemon, driven as a kernel is."""
