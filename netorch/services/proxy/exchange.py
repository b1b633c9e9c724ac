"""One request and its answer: read, judged, passed on as a stream, logged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from netorch.model.iam.s3.deletion import MOST_BODY_BYTES, read_deletion
from netorch.model.iam.s3.request import Asked
from netorch.services.proxy import answers
from netorch.services.proxy.bodies import Bodies
from netorch.services.proxy.crowd import Client
from netorch.services.proxy.deletions import no_deletion, pieces
from netorch.services.proxy.head import CONNECTION, Head, Header, Refusal, read_head
from netorch.services.proxy.journal.line import Line, seconds_since, time_of
from netorch.services.proxy.policies import Policies, Verdict, understood
from netorch.services.proxy.upstream import Upstream
from netorch.state.daemons.services.proxy import ProxyEndpoint

_FORBIDDEN: Final = 403  # a request that was understood: others may come behind it
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOT_PASSED_ON: Final = CONNECTION | {"transfer-encoding"}
_UNAVAILABLE: Final = "The service behind the endpoint does not answer. Please try again."
_INCOMPLETE: Final = "The request body is no body, or ends too early."
_SECRET: Final = re.compile(r"(?<=[?&])(X-Amz-Signature|X-Amz-Security-Token|Signature)=[^&]*", re.IGNORECASE)


class Place(NamedTuple):
    """What a request is answered with."""

    endpoint: ProxyEndpoint
    policies: Policies
    upstream: Upstream
    bodies: Bodies
    turn: asyncio.Lock  # of lists of keys: one of this endpoint is judged at a time


class Exchange:
    """A request of one client at one endpoint."""

    def __init__(self, place: Place, request: web.BaseRequest, client: Client, source: str) -> None:
        """Take the address of the client, as its connection tells."""
        self._place = place
        self._request = request
        self._client = client
        self._source = source
        self._began = datetime.now(UTC)
        self._asked: Asked | None = None
        self._broken = False  # whether the client's body breaks off, or is none
        self._received = self._sent = self._status = 0
        self._kept = 0  # bytes of a body that was read to judge the request
        self._reason = "the client has gone"
        self._error = ""

    async def run(self) -> web.StreamResponse:
        """Return the answer, which has been sent if it came from the server behind."""
        head = None
        try:
            head = read_head(self._request.method, self._request.raw_path, self._request.raw_headers)
            asked, body = await self._understand(head)
            verdict = await self._judge(asked, body)
            reason = verdict.reason
            if verdict.refusal is not None:
                raise verdict.refusal
            response = await self._send(head, body)
            try:
                answer = await self._relay(response)
            finally:
                response.close()
        except Refusal as refusal:
            self._reason = refusal.reason or refusal.message
            self._status, self._error = refusal.status, refusal.code
            ends = refusal.status != _FORBIDDEN or head is None or head.has_body
            return answers.error(refusal.status, refusal.code, refusal.message, ends=ends)
        finally:
            self._place.bodies.forget(self._place.endpoint.vpc, self._kept)
        self._reason = reason
        return answer

    def line(self) -> Line:
        """Return what the access log says."""
        asked = self._asked
        return Line(
            time=time_of(self._began),
            vpc=self._place.endpoint.vpc,
            endpoint=self._place.endpoint.id,
            source=self._source,
            status=self._status,
            reason=self._reason,
            error=self._error,
            method=self._request.method,
            host=self._request.headers.get("Host", ""),
            target=_SECRET.sub(r"\1=...", self._request.raw_path),
            action=asked.needs[0].action if asked is not None and asked.needs else "",
            resource=asked.place.arn if asked is not None else "",
            received=self._received,
            sent=self._sent,
            seconds=seconds_since(self._began),
        )

    async def _understand(self, head: Head) -> tuple[Asked, bytearray | None]:
        """Return what a request asks for, and its body if that had to be read for it."""
        self._asked = asked = self._place.policies.asked(head, self._place.endpoint)
        if not asked.names_keys:
            return asked, None
        if (refusal := no_deletion(self._place.policies.both(asked, self._place.endpoint))) is not None:
            raise refusal
        body = await self._collect(head)
        self._asked = asked = understood(read_deletion(asked, bytes(body)))
        return asked, body

    async def _collect(self, head: Head) -> bytearray:
        """Return the body of a list of keys, or the beginning of one that is too long."""
        if (head.length or 0) > MOST_BODY_BYTES:
            raise Refusal(400, "MalformedXML", f"The body has more than {MOST_BODY_BYTES} bytes.")
        body = bytearray()
        try:
            async for chunk in self._body(head):
                self._place.bodies.keep(self._place.endpoint.vpc, len(chunk))
                self._kept += len(chunk)
                body += chunk
                if len(body) > MOST_BODY_BYTES:
                    break
        except web.RequestPayloadError as error:
            raise Refusal(400, "IncompleteBody", _INCOMPLETE) from error
        return body

    async def _judge(self, asked: Asked, body: bytearray | None) -> Verdict:
        """Return what policies say; about a list of keys piece by piece, so that nobody else waits for its end."""
        policies, endpoint = self._place.policies, self._place.endpoint
        if body is None:
            return policies.verdict(asked, endpoint, self._source)
        async with self._place.turn:
            verdict = None
            for piece in pieces(asked, policies.both(asked, endpoint)):
                await asyncio.sleep(0)
                found = policies.verdict(piece, endpoint, self._source)
                if found.refusal is not None:
                    return found
                verdict = verdict or found
        return verdict or policies.verdict(asked, endpoint, self._source)

    async def _send(self, head: Head, read: bytearray | None) -> aiohttp.ClientResponse:
        """Send a request to the server behind, with its body: one that was read, or while it comes."""
        endpoint = self._place.endpoint
        added: tuple[Header, ...] = (
            ("x-netorch-source-vpc", endpoint.vpc),
            ("x-netorch-source-vpce", endpoint.id),
            ("x-netorch-source-ip", self._source),
        )
        body = self._body(head) if read is None and head.has_body else read
        try:
            return await self._place.upstream.send(endpoint.upstream, head, added, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            if self._broken:
                raise Refusal(400, "IncompleteBody", _INCOMPLETE) from error
            reason = f"the server behind does not answer: {error or type(error).__name__}"
            raise Refusal(503, "ServiceUnavailable", _UNAVAILABLE, reason) from error

    async def _body(self, head: Head) -> AsyncIterator[bytes]:
        try:
            if head.waits:
                await self._request.writer.write(_CONTINUE)
                self._request.writer.output_size = 0  # what was written is no answer yet
            while chunk := await self._client.awaited(self._request.content.readany(), len):
                self._received += len(chunk)
                yield chunk
        except (web.RequestPayloadError, ConnectionError):
            self._broken = True
            raise

    async def _relay(self, response: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass an answer on while it comes; one that is there already as a whole costs one write."""
        self._status = response.status
        headers = CIMultiDict((name, value) for name, value in response.headers.items() if name.lower() not in _NOT_PASSED_ON)
        headers.setdefault("Server", answers.SERVER)
        if response.content.is_eof() and response.method != "HEAD":
            body = response.content.read_nowait()
            self._sent = len(body)
            return web.Response(status=response.status, reason=response.reason, headers=headers, body=body or None)
        answer = web.StreamResponse(status=response.status, reason=response.reason, headers=headers)
        await answer.prepare(self._request)
        try:
            async for chunk in response.content.iter_any():
                await self._client.awaited(_written(answer, chunk), int)
                self._sent += len(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._reason = f"the server behind broke off: {error or type(error).__name__}"
            self._client.cut()
            raise ConnectionResetError(self._reason) from error
        await answer.write_eof()
        return answer


async def _written(answer: web.StreamResponse, chunk: bytes) -> int:
    """Write a piece, and return how long it is once the client is not too far behind."""
    await answer.write(chunk)
    return len(chunk)
