"""A web server on the internet, and in instances: it tells each client by which address it sees it.

python3 web.py [PORT [NAME]]

/           one line, at once; without a NAME the server says its own address
/download   a line every 20 ms for SECONDS s, so that whoever reads it sees a pause
"""

from __future__ import annotations

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

EVERY_S: Final = 0.02
SECONDS: Final = 10.0


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(f"hello {plain(self.client_address[0])}, this is {self.server_name()}\n".encode())
        if self.path == "/download":
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(int(SECONDS / EVERY_S)):
                self.wfile.write(f"{number} {'.' * 1000}\n".encode())
                time.sleep(EVERY_S)

    def server_name(self) -> str:
        """Return what the server calls itself."""
        return sys.argv[2] if sys.argv[2:] else plain(self.connection.getsockname()[0])


class Server(ThreadingHTTPServer):
    """Takes connections of both IP versions; an IPv4 address is written in an IPv6 one then (RFC 4291 section 2.5.5)."""

    address_family = socket.AF_INET6


def plain(address: str) -> str:
    """Return an address as people write it."""
    return address.removeprefix("::ffff:")


if __name__ == "__main__":
    with Server(("::", int(sys.argv[1]) if sys.argv[1:] else 80), Handler) as server:
        server.serve_forever()
