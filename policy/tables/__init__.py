"""Parts of the nftables skeletons of a hypervisor (policy.skeleton)."""
