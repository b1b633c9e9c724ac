"""The enrolment service: TLS, one line in, one line out. Anybody can reach it, so everything has a limit.

A connection has one request, 16 KiB and ten seconds, the TLS handshake included. The connections at once are limited, also those
of one address, and so are its failures in a time. Certificates of other authorities, and expired ones, end the handshake. The log
names hosts and addresses, never a token.

Meanwhile the service repairs the rights of one host after the other: control actions that were interrupted, moves that ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from netorch.control.identities.enrolment import Enrolment
from netorch.control.identities.limits import Attempts, Places, network_of
from netorch.control.identities.roles import sweep
from netorch.control.identities.tokens import announce
from netorch.decoding import decoder_of
from netorch.errors import IdentityError, StoreError
from netorch.identity.asking import MOST_BYTES, Answer, Request
from netorch.identity.authority import Authority, fingerprint, key_pem, new_key, utc_now
from netorch.identity.files import write
from netorch.store.access import Access
from netorch.store.base import Store

log = logging.getLogger(__name__)

CONNECTION_S: Final = 10.0
CONNECTIONS: Final = 256
OF_ONE_ADDRESS: Final = 16
FAILURES: Final = 8
FAILURE_EVERY_S: Final = 10.0
REPAIR_EVERY_S: Final = 60.0  # each host; each reading of a role is a write in the members' logs
REPAIR_PAUSE_S: Final = 1.0  # at least, between two hosts
_NEW_CERTIFICATE_S: Final = timedelta(days=30).total_seconds()
_NO_DESCRIPTORS_S: Final = 0.1  # accept(2) failed because too many files are open
_BUSY: Final = "the store cannot be used now; try again later"
_TOO_MANY: Final = "too many failed attempts; wait some minutes"


class EnrolmentServer:
    """Serves on a listening socket. `directory` keeps its key and certificate, of which it makes new ones."""

    def __init__(self, enrolment: Enrolment, authority: Authority, directory: Path, listening: socket.socket) -> None:
        self._enrolment = enrolment
        self._authority = authority
        self._file = directory / "service.pem"
        self._listening = listening
        self._places = Places(CONNECTIONS, OF_ONE_ADDRESS)
        self._attempts = Attempts(FAILURES, FAILURE_EVERY_S, time.monotonic)
        self._context: ssl.SSLContext | None = None
        self._made_at = 0.0

    async def serve(self) -> None:
        """Serve until cancelled."""
        self._listening.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    connection, peer = await loop.sock_accept(self._listening)
                except OSError as error:
                    log.warning("connection not accepted reason=%r", str(error))
                    await asyncio.sleep(_NO_DESCRIPTORS_S)
                    continue
                address = network_of(peer[0])
                if self._places.take(address):
                    tasks.create_task(self._serve(connection, address))
                else:
                    connection.close()

    async def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            async with asyncio.timeout(CONNECTION_S):
                await self._talk(connection, address)
        except (OSError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            self._attempts.failed(address)
            log.info("connection ended address=%s reason=%r", address, str(error) or "took too long")
        except Exception:
            self._attempts.failed(address)
            log.exception("connection failed address=%s", address)  # one connection must not end the service
        finally:
            connection.close()
            self._places.leave(address)

    async def _talk(self, connection: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MOST_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls())
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            line = await reader.readline()
            user = _user(writer.get_extra_info("peercert"))
            answer = await asyncio.to_thread(self._answer, line, user, address)
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, line: bytes, user: str, address: str) -> Answer:
        """Return the answer to a line. What it says about a failure tells a stranger nothing."""
        if not user and not self._attempts.may(address):  # nobody can keep hosts from renewing
            return Answer(error=_TOO_MANY)
        try:
            request = decoder_of(Request).decode(line)
            answer = self._enrolment.answer(request, user)
        except (msgspec.MsgspecError, ValueError):
            self._attempts.failed(address)
            return Answer(error="this is not a request; use `netorch host join`")
        except IdentityError as error:
            self._attempts.failed(address)
            log.warning("refused address=%s op=%s host=%r user=%r", address, request.op, request.host, user)
            return Answer(error=str(error))
        except StoreError as error:
            log.warning("not answered address=%s reason=%r", address, str(error))
            return Answer(error=_BUSY)
        if answer.certificate:
            log.info("certificate given address=%s op=%s host=%r user=%r", address, request.op, request.host, user)
        return answer

    def _tls(self) -> ssl.SSLContext:
        """Return the context for a handshake, with a certificate that is never old."""
        if self._context is None or time.monotonic() - self._made_at > _NEW_CERTIFICATE_S:
            key = new_key()
            certificate = self._authority.for_service(key.public_key(), utc_now())
            write(self._file, key_pem(key) + certificate.encode(), secret=True)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(self._file)
            context.load_verify_locations(cadata=self._authority.pem)
            context.verify_mode = ssl.CERT_OPTIONAL
            self._context, self._made_at = context, time.monotonic()
        return self._context


class Repairs:
    """Repairs the rights of hosts, one host at a time."""

    def __init__(self, store: Store, access: Access) -> None:
        self._store, self._access = store, access
        self._left: list[str] = []
        self._hosts = 1

    @property
    def pause_s(self) -> float:
        """How long to wait before the next step."""
        return max(REPAIR_PAUSE_S, REPAIR_EVERY_S / self._hosts)

    def step(self) -> None:
        """Repair the rights of the next host. Raises StoreError."""
        if not self._left:
            listed = self._store.list("host/").kvs
            self._left = sorted({kv.key.split("/")[1] for kv in listed}, reverse=True)
            self._hosts = max(len(self._left), 1)
        if self._left:
            sweep(self._store, self._access, self._left.pop())


async def repair_on(repairs: Repairs) -> None:
    """Repair until cancelled."""
    said = ""
    while True:
        try:
            await asyncio.to_thread(repairs.step)
            said = ""
        except StoreError as error:
            if str(error) != said:
                log.warning("rights not repaired reason=%r", str(error))
            said = str(error)
        await asyncio.sleep(REPAIR_PAUSE_S if said else repairs.pause_s)


def listen(address: str) -> socket.socket:
    """Return a listening socket at HOST:PORT. Raises IdentityError."""
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, ValueError, OverflowError) as error:
        raise IdentityError(
            f"enrolment service: it cannot listen at {address} ({error}); give HOST:PORT of this machine"
        ) from error


async def run(server: EnrolmentServer, repairs: Repairs, ready: Callable[[], None]) -> None:
    """Serve and repair until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        tasks.create_task(repair_on(repairs))
        ready()


def serve_store(
    store: Store,
    access: Access,
    authority: Authority,
    store_url: str,
    directory: Path,
    listen_at: str,
    address: str,
    ready: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT. Hosts reach the service at `address`; `directory` keeps its key.

    Raises:
      IdentityError: it cannot listen.
      StoreError: the store cannot be used.
    """
    announce(store, address, fingerprint(authority.pem))
    enrolment = Enrolment(store, access, authority, store_url, utc_now)

    async def until_signal() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await run(EnrolmentServer(enrolment, authority, directory, listening), Repairs(store, access), ready)

    with listen(listen_at) as listening:
        asyncio.run(until_signal())


def _user(certificate: dict[str, Any] | None) -> str:
    """Return the common name of a verified certificate, as ssl gives it; empty without one."""
    names = [value for part in (certificate or {}).get("subject", ()) for name, value in part if name == "commonName"]
    return names[0] if names else ""
