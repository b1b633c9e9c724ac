"""The only package that accesses the kernel and daemons."""
