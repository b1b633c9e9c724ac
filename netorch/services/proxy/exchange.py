"""One request and its answer: the proxy reads, judges, forwards and logs it."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from netorch.model.iam.s3.deletion import MOST_BODY_BYTES, read_deletion
from netorch.model.iam.s3.request import Asked
from netorch.services.proxy import answers, limits
from netorch.services.proxy.bodies import Bodies
from netorch.services.proxy.client_end import BrokenAnswer, ClientEnd, send
from netorch.services.proxy.crowd import Client
from netorch.services.proxy.deletions import no_deletion, pieces
from netorch.services.proxy.head import Head, Header, Refusal, read_head
from netorch.services.proxy.journal.line import Line, seconds_since, time_of
from netorch.services.proxy.policies import Policies, Verdict, understood
from netorch.services.proxy.upstream import Upstream, read_answer
from netorch.services.proxy.wire.chunks import NoChunks
from netorch.services.proxy.wire.heads import AnswerHead, NoHead, RequestHead
from netorch.services.proxy.wire.stream import Stream
from netorch.state.daemons.services.proxy import ProxyEndpoint

_FORBIDDEN: Final = 403  # the request was valid: more requests may follow on the connection
_UNAVAILABLE: Final = "The service behind the endpoint does not answer. Please try again."
_INCOMPLETE: Final = "The request body is no body, or ends too early."
_SECRET: Final = re.compile(r"(?<=[?&])(X-Amz-Signature|X-Amz-Security-Token|Signature)=[^&]*", re.IGNORECASE)


class Place(NamedTuple):
    """What an exchange needs to answer a request."""

    endpoint: ProxyEndpoint
    policies: Policies
    upstream: Upstream
    bodies: Bodies
    turn: asyncio.Lock  # for lists of keys: the proxy judges one of this endpoint at a time


class Exchange:
    """A request of one client at one endpoint."""

    def __init__(self, place: Place, came: RequestHead, client: Client, stream: Stream, source: str) -> None:
        """Take the client's address as the source of its connection."""
        self._place = place
        self._came = came
        self._end = ClientEnd(client, stream)
        self._source = source
        self._began = datetime.now(UTC)
        self._asked: Asked | None = None
        self._status = 0
        self._kept = 0  # bytes of a body buffered to judge the request
        self._reason = "the client has gone"
        self._error = ""

    async def run(self) -> bool:
        """Answer the request. Return whether the client may send more requests on this connection.

        Raises:
          ConnectionError: the client is gone, or its connection is not usable any longer.
        """
        head = None
        try:
            head = read_head(self._came.method, self._came.target, self._came.headers)
            asked, body = await self._understand(head)
            verdict = await self._judge(asked, body)
            if verdict.refusal is not None:
                raise verdict.refusal
            goes_on = await self._pass_on(head, body, verdict.reason)
        except Refusal as refusal:
            goes_on = refusal.status == _FORBIDDEN and head is not None and not (head.has_body or self._came.closes)
            await self._refuse(refusal, goes_on)
        finally:
            self._place.bodies.forget(self._place.endpoint.vpc, self._kept)
        return goes_on

    def line(self) -> Line:
        """Return the line for the access log."""
        asked = self._asked
        return Line(
            time=time_of(self._began),
            vpc=self._place.endpoint.vpc,
            endpoint=self._place.endpoint.id,
            source=self._source,
            status=self._status,
            reason=self._reason,
            error=self._error,
            method=self._came.method,
            host=next((value.decode(errors="replace") for name, value in self._came.headers if name.lower() == b"host"), ""),
            target=_SECRET.sub(r"\1=...", self._came.target),
            action=asked.needs[0].action if asked is not None and asked.needs else "",
            resource=asked.place.arn if asked is not None else "",
            received=self._end.received,
            sent=self._end.sent,
            seconds=seconds_since(self._began),
        )

    async def _refuse(self, refusal: Refusal, goes_on: bool) -> None:
        self._reason = refusal.reason or refusal.message
        self._status, self._error = refusal.status, refusal.code
        has_body = self._came.method != "HEAD"
        await self._end.say(answers.error(refusal.status, refusal.code, refusal.message, ends=not goes_on, has_body=has_body))

    async def _understand(self, head: Head) -> tuple[Asked, bytes | None]:
        """Return the parsed request, and its body if that had to be read."""
        self._asked = asked = self._place.policies.asked(head, self._place.endpoint)
        if not asked.names_keys:
            return asked, None
        if (refusal := no_deletion(self._place.policies.both(asked, self._place.endpoint))) is not None:
            raise refusal
        body = await self._collect(head)
        self._asked = asked = understood(read_deletion(asked, body))
        return asked, body

    async def _collect(self, head: Head) -> bytes:
        """Return the body with a list of keys, or the start of a body that is too long."""
        if (head.length or 0) > MOST_BODY_BYTES:
            raise Refusal(400, "MalformedXML", f"The body has more than {MOST_BODY_BYTES} bytes.")
        body = bytearray()
        if head.waits:
            await self._end.say(answers.CONTINUE)
        try:
            async for piece in self._end.body(head):
                self._place.bodies.keep(self._place.endpoint.vpc, len(piece))
                self._kept += len(piece)
                body += piece
                if len(body) > MOST_BODY_BYTES:
                    break
        except NoChunks as error:
            raise Refusal(400, "IncompleteBody", _INCOMPLETE, str(error)) from error
        return bytes(body)

    async def _judge(self, asked: Asked, body: bytes | None) -> Verdict:
        """Return the verdict of the policies. A list of keys is judged in pieces, so that other clients need not wait."""
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

    async def _pass_on(self, head: Head, read: bytes | None, reason: str) -> bool:
        """Forward a request to the server. Return whether the client may continue."""
        if read is None and head.has_body and not head.waits:
            read = self._end.whole_body(head)
        complete = True
        try:
            if read is None and head.has_body:
                server, answer, complete = await self._upload(head)
            else:
                raw = head.raw(self._added(), len(read) if read is not None else None)
                server, answer = await self._place.upstream.send(self._place.endpoint.upstream, head, raw + (read or b""))
        except NoChunks as error:
            raise Refusal(400, "IncompleteBody", _INCOMPLETE, str(error)) from error
        except (OSError, NoHead) as error:
            if self._end.is_gone:
                raise
            why = f"the server behind does not answer: {error or type(error).__name__}"
            raise Refusal(503, "ServiceUnavailable", _UNAVAILABLE, why) from error
        self._status = answer.status
        return await self._relay(head, server, answer, complete, reason)

    async def _relay(self, head: Head, server: Stream, answer: AnswerHead, complete: bool, reason: str) -> bool:
        """Forward an answer. Return whether the client may continue. `complete`: the server has the whole body."""
        ends = self._came.closes or not complete
        try:
            may_be_kept = await self._end.pass_on(answer, server, is_bare=head.method == "HEAD", ends=ends)
        except BrokenAnswer as error:
            self._reason = f"the server behind broke off: {error}"
            raise
        self._reason = reason
        if may_be_kept and complete:
            self._place.upstream.keep(self._place.endpoint.upstream, server)
        else:
            server.close()
        return not ends

    async def _upload(self, head: Head) -> tuple[Stream, AnswerHead, bool]:
        """Forward a request while its body arrives. Also return whether all of it was sent: a server may answer earlier."""
        server = await self._place.upstream.open(self._place.endpoint.upstream)
        try:
            await send(server, head.raw(self._added(), None))
            if head.waits:
                await self._end.say(answers.CONTINUE)
            complete = await self._end.pass_body(head, server)
            async with asyncio.timeout(limits.SERVER_S):
                return server, await read_answer(server), complete
        except BaseException:
            server.reset()
            raise

    def _added(self) -> tuple[Header, ...]:
        endpoint = self._place.endpoint
        return (
            ("x-netorch-source-vpc", endpoint.vpc),
            ("x-netorch-source-vpce", endpoint.id),
            ("x-netorch-source-ip", self._source),
        )
