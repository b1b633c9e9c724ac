"""What hosts and the enrolment service say to each other: one line of JSON each way, over TLS 1.3.

authority    anybody        the authority's certificate; the asker compares it with the fingerprint in its token
join         a new host     a token and a certificate request; the certificate
renew        a host         a certificate request, with its present certificate in the TLS handshake; the next certificate
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Final, Literal

import msgspec

from netorch.errors import IdentityError
from netorch.identity.authority import SERVICE_NAME, fingerprint
from netorch.identity.files import AUTHORITY, OWN, Own, asked_request, keep_answer, read_text
from netorch.identity.token import Token

MOST_BYTES: Final = 16_384  # of a line
ASK_S: Final = 20.0
DEFAULT_PORT: Final = 2390


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A line from a host. Its repr leaves the secret out."""

    op: Literal["authority", "join", "renew"]
    host: str = ""
    secret: str = ""
    request: str = ""  # PEM

    def __repr__(self) -> str:
        return f"Request({self.op}, {self.host})"


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line from the service; with an `error`, nothing else."""

    error: str = ""
    authority: str = ""  # PEM
    certificate: str = ""  # PEM
    store: str = ""  # the store's URL without files


def join(token: Token, directory: Path) -> tuple[Own, str]:
    """Get an identity for this machine by a token; return it and the store's URL without files.

    If the answer is lost, call this again: the pending key makes the repetition the same request.

    Raises:
      IdentityError: the service is not the token's, refuses it, or does not answer.
    """
    authority = _ask(token.service, _unproven(), Request(op="authority")).authority
    if not authority or fingerprint(authority) != token.authority:
        raise IdentityError(f"enrolment service {token.service}: it is not the service that the token names; ask the operator")
    request = Request(op="join", host=token.host, secret=token.secret, request=asked_request(directory))
    answer = _ask(token.service, _proven(authority), request)
    return keep_answer(directory, answer.certificate, authority), answer.store


def renew(service: str, directory: Path) -> Own:
    """Get the next certificate for this machine, by the present one. Raises IdentityError."""
    authority = read_text(directory / AUTHORITY)
    context = _proven(authority)
    try:
        context.load_cert_chain(directory / OWN)
    except (OSError, ssl.SSLError) as error:
        raise IdentityError(f"{directory / OWN}: it cannot be used ({error.strerror}); join again") from error
    answer = _ask(service, context, Request(op="renew", request=asked_request(directory)))
    return keep_answer(directory, answer.certificate, authority)


def _unproven() -> ssl.SSLContext:
    """Return a context for the one question that is asked before the service is known; the answer is public and compared."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _proven(authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    return context


def _ask(service: str, context: ssl.SSLContext, request: Request) -> Answer:
    host, _, port = service.rpartition(":")
    where = f"enrolment service {service}"
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), ASK_S) as plain,
            context.wrap_socket(plain, server_hostname=SERVICE_NAME) as connection,
            connection.makefile("rb") as lines,
        ):
            connection.sendall(msgspec.json.encode(request) + b"\n")
            answer = msgspec.json.decode(lines.readline(MOST_BYTES), type=Answer)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise IdentityError(
            f"{where}: no answer ({error}); check that the service is running and can be reached there. If hosts must use "
            "another address, start it with `netorch ca serve --address HOST:PORT` and make a new token"
        ) from error
    if answer.error:
        raise IdentityError(f"{where}: {answer.error}")
    return answer
