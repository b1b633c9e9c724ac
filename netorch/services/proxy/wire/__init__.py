"""Connections as the proxy uses them: sockets on the event loop, heads read by llhttp, bodies moved by the kernel."""
