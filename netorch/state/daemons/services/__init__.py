"""The objects of netorch's own daemon (netorch.services): the sockets on which it serves instances, and the data for that."""
