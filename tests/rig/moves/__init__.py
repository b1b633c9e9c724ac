"""An instance that moves under a TCP connection."""
