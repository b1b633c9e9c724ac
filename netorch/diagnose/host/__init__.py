"""What one host on this machine holds, against the store."""
