"""netorch's own daemon and its answers."""
