"""The driver of netorch's own daemon (netorch.services): its process, its control socket, and the sockets passed to it."""
