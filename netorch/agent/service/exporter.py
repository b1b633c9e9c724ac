"""Serves an agent's metrics to Prometheus: text exposition format 0.0.4 over HTTP, on a TCP address or a Unix socket.

A thread serves HTTP, one client at a time, so a slow or silent client delays only the next client. The thread asks the agent's
own thread for the text, at most once a second, and the agent answers in its next turn.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

from netorch.agent.service.metrics import Metric
from netorch.agent.tasks.base import Task, Turn

log = logging.getLogger(__name__)

UNIX: Final = "unix:"
OFF: Final = "off"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
ANSWER_S: Final = 10.0  # a turn may take seconds; Prometheus gives up after ten
CLIENT_S: Final = 5.0  # for a client to send its request and read the answer, the agent's time not counted
END_S: Final = 1.0  # for the thread to end, which waits for its client, or for an answer that will not come
FRESH_S: Final = 1.0


def exposition(metrics: Sequence[Metric]) -> str:
    """Return metrics as text. Source: prometheus.io/docs/instrumenting/exposition_formats."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {_escaped(metric.help, quotes=False)}", f"# TYPE {metric.name} {metric.type}"]
        for labels, value in metric.values:
            pairs = ",".join(f'{name}="{_escaped(text, quotes=True)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{f'{{{pairs}}}' if pairs else ''} {value:.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


class Exporter(Task):
    """The task that serves metrics; the agent's thread calls `describe`."""

    def __init__(self, address: str, describe: Callable[[], str]) -> None:
        """Serve at HOST:PORT or unix:PATH; if this fails the agent runs without metrics."""
        self._describe = describe
        self._questions: queue.SimpleQueue[queue.SimpleQueue[str]] = queue.SimpleQueue()
        self._asked = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._text, self._text_at = "", float("-inf")
        self._server: socketserver.BaseServer | None = None
        try:
            self._server = _server(address, self._ask)
        except (OSError, ValueError) as error:
            log.warning("no metrics are served address=%s reason=%r", address, str(error))
        else:
            threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when a client asks."""
        return self._asked

    def turn(self, turn: Turn) -> None:
        """Answer the waiting requests."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._asked)
        asked = []
        with contextlib.suppress(queue.Empty):
            while True:
                asked.append(self._questions.get_nowait())  # one who gave up while a turn was long is still among them
        text = self._describe() if asked else ""
        for answer in asked:
            answer.put(text)

    def close(self) -> None:
        """End the thread, now or when its client has gone."""
        ending = threading.Thread(target=self._end, name="end of metrics", daemon=True)
        ending.start()
        ending.join(END_S)

    def _end(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        os.close(self._asked)

    def _ask(self) -> str:
        """Return the text from the agent's thread. Raises queue.Empty when the agent is busy."""
        if time.monotonic() - self._text_at > FRESH_S:
            answer: queue.SimpleQueue[str] = queue.SimpleQueue()
            self._questions.put(answer)
            os.eventfd_write(self._asked, 1)
            self._text, self._text_at = answer.get(timeout=ANSWER_S), time.monotonic()
        return self._text


class _UnixServer(socketserver.UnixStreamServer):
    request_queue_size = 16

    def server_bind(self) -> None:
        path = Path(str(self.server_address))
        if path.is_socket():
            path.unlink()  # left by an agent that was killed
        super().server_bind()
        path.chmod(0o660)


class _TcpServer(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 16


class _TcpServer6(_TcpServer):
    address_family = socket.AF_INET6


def _server(address: str, ask: Callable[[], str]) -> socketserver.BaseServer:
    """Return a listening server. Raises OSError, and ValueError for an invalid address."""
    handler = type("Handler", (_Handler,), {"ask": staticmethod(ask)})
    if address.startswith(UNIX):
        return _UnixServer(address.removeprefix(UNIX), handler)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{address!r} is neither HOST:PORT nor unix:PATH")
    of = _TcpServer6 if ":" in host else _TcpServer
    return of((host.strip("[]"), int(port)), handler)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET /metrics."""

    timeout = CLIENT_S  # in which nothing comes, or nothing goes
    ask: Callable[[], str]

    def setup(self) -> None:
        """Begin the client's time, which counts from the first byte to the last: one may send a byte now and then."""
        super().setup()
        self._clock = threading.Timer(CLIENT_S + ANSWER_S, self._cut)
        self._clock.daemon = True
        self._clock.start()

    def handle(self) -> None:
        """Answer, or give up on a client that has gone or was cut off."""
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self) -> None:
        """End the client's time."""
        self._clock.cancel()
        with contextlib.suppress(OSError):
            super().finish()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        """Send the metrics."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "only /metrics exists here")
            return
        try:
            body = self.ask().encode()
        except queue.Empty:
            self.send_error(503, "the agent is busy; try again")
            return
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a scrape changes no state."""
