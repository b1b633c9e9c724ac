"""Common parts of daemons' drivers: the process, the connection to it, and sealed secrets."""
