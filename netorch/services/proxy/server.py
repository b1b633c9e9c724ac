"""aiohttp's server, but for what it says about requests that are none: it logs them with their bytes, which are a client's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from netorch.services.proxy import answers, limits

_SERVER_ERROR: Final = 500
_log = logging.getLogger(__name__)
Answer = Callable[[web.BaseRequest], Any]
Note = Callable[[web.BaseRequest, int], None]


class Server(web.Server):
    """Makes a protocol for each connection; `refused` is told of a request that cannot be read, and of its status."""

    def __init__(self, answer: Answer, refused: Note) -> None:
        super().__init__(
            answer,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.IDLE_S,
            lingering_time=limits.LINGER_S,
            read_bufsize=limits.READ_AHEAD,
            max_line_size=limits.LINE,
            max_field_size=limits.FIELD,
            max_headers=limits.FIELDS,
        )
        self._refused = refused

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._refused, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_refused",)

    def __init__(self, server: Server, refused: Note, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        self._refused = refused
        super().__init__(server, **options)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = _SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= _SERVER_ERROR:
            self.log_exception("a request ended", exc_info=exc)
        else:
            self._refused(request, status)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, and there can be no other one")
        if status >= _SERVER_ERROR:
            return answers.error(status, "InternalError", "We encountered an internal error. Please try again.", ends=True)
        return answers.error(status, "BadRequest", "The request is not HTTP/1.1 to the letter.", ends=True)

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - logging's
        """Log where an exception of our own was raised, and not its text, which may have a client's bytes."""
        error = kw.get("exc_info")
        trace = error.__traceback__ if isinstance(error, BaseException) else None
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "an unknown place"
        _log.error("%s: %s at %s", args[0] if args else "an error", type(error).__name__, where)
