"""TLS of clients, which is passed on as it is."""
