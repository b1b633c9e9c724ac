"""Indexes of the records of all VPCs: by peer, by host, by edge."""
