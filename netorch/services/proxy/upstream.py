"""Connections to the server behind, of one endpoint: no other endpoint's request ever goes by them, nor does its answer.

They are opened from the process's own namespace, to the address that the operator has declared. A request with a body gets a
connection of its own. A kept one may be closed by the server at the moment in which it is used again, and a body that has been
streamed cannot be sent a second time; a request without a body is sent again by aiohttp.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from netorch.services.proxy import limits
from netorch.services.proxy.head import Head, Header

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=limits.CONNECT_S, sock_read=limits.SERVER_S)
_NOTHING_ADDED: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class Upstream:
    """The connections of one endpoint to the server behind; there are none before the first request."""

    def __init__(self) -> None:
        self._kept: aiohttp.ClientSession | None = None
        self._single: aiohttp.ClientSession | None = None

    async def send(
        self, server: str, head: Head, added: tuple[Header, ...], body: AsyncIterator[bytes] | bytearray | None
    ) -> aiohttp.ClientResponse:
        """Send a request on and return the beginning of the answer, which is to be closed or read to its end.

        Raises:
          aiohttp.ClientError, TimeoutError: the server cannot be reached, or ends too early.
        """
        headers = CIMultiDict((*head.headers, *added))
        return await self._session(body is not None).request(
            head.method,
            URL(f"{server}{head.target}", encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            skip_auto_headers=_NOTHING_ADDED,
        )

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._kept, self._single):
            if session is not None:
                with suppress(OSError):
                    await session.close()
        self._kept = self._single = None

    def _session(self, with_body: bool) -> aiohttp.ClientSession:
        if with_body:
            self._single = self._single or _session(aiohttp.TCPConnector(limit=0, force_close=True))
            return self._single
        self._kept = self._kept or _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=limits.POOLED_S))
        return self._kept


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=limits.READ_AHEAD,
        max_line_size=limits.LINE,
        max_field_size=limits.FIELD,
    )
