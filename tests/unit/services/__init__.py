"""netorch's own daemon: what it answers."""
