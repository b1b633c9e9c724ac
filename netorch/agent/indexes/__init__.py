"""What an agent looks up in the records of all VPCs: by peer, by host, by edge."""
