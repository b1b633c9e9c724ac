"""What netorch's own daemon has (netorch.services): the sockets at which it serves instances, and what it must know to do so."""
