"""Connections for the proxy: sockets on the event loop, heads parsed by llhttp, bodies moved by the kernel."""
