"""The answers to requests of a known instance. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

import msgspec

from netorch.model.services.metadata import VERSIONS
from netorch.services.metadata import tokens
from netorch.services.metadata.requests import Request
from netorch.state.daemons.services.metadata import InstanceMetadata

TOKEN_PATH: Final = "/latest/api/token"
TTL_HEADER: Final = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER: Final = "x-aws-ec2-metadata-token"
_FORWARDED: Final = "x-forwarded-for"
_REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. `hop_limit` is the TTL of its packets; 0: the system's default."""

    status: int
    body: bytes = b""
    kind: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    hop_limit: int = 0

    def encode(self, *, head_only: bool, persistent: bool) -> bytes:
        """Return the bytes of the response, without the body if `head_only` is set (HEAD)."""
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"Content-Type: {self.kind}", f"Content-Length: {len(self.body)}", "Server: EC2ws"]
        lines += [] if persistent else ["Connection: close"]
        return "\r\n".join((*lines, "", "")).encode() + (b"" if head_only else self.body)


def answer(found: InstanceMetadata, request: Request, key: bytes, now: float) -> Answer:
    """Return the answer to an instance. `key` signs tokens."""
    if not found.enabled:
        return Answer(status=403)
    if request.method == "PUT":
        return _token(found, request, key, now)
    if request.method not in ("GET", "HEAD"):
        return Answer(status=405, headers=(("Allow", "GET, HEAD, PUT"),))
    token = request.headers.get(TOKEN_HEADER)
    if token is None and found.needs_token:
        return Answer(status=401)
    if token is not None and not tokens.is_good(key, found.id, now, token):
        return Answer(status=401)
    return _document(found, request.path)


def _token(found: InstanceMetadata, request: Request, key: bytes, now: float) -> Answer:
    """Return a token. A request that a proxy has forwarded gets none."""
    if request.path != TOKEN_PATH:
        return Answer(status=405, headers=(("Allow", "GET, HEAD"),), hop_limit=found.hop_limit)
    if _FORWARDED in request.headers:
        return Answer(status=403, hop_limit=found.hop_limit)
    text = request.headers.get(TTL_HEADER, "")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and tokens.TTL_LEAST <= int(text) <= tokens.TTL_MOST):
        return Answer(status=400, hop_limit=found.hop_limit)
    made = tokens.make(key, found.id, now, int(text))
    told = ((TTL_HEADER, str(int(text))),)
    return Answer(status=200, body=made.encode(), headers=told, hop_limit=found.hop_limit)


def _document(found: InstanceMetadata, path: str) -> Answer:
    """Return the text at a path, or the list of names below it."""
    version, _, rest = path.lstrip("/").partition("/")
    if not version:
        return Answer(status=200, body="\n".join(VERSIONS).encode())
    if version not in VERSIONS:
        return Answer(status=404)
    texts = dict(found.tree)
    if rest == "user-data" and found.user_data:
        return Answer(status=200, body=base64.b64decode(found.user_data), kind="application/octet-stream")
    if rest in texts:
        return Answer(status=200, body=texts[rest].encode())
    below = f"{rest.rstrip('/')}/" if rest else ""
    names = {path[len(below) :] for path in texts if path.startswith(below)}
    listed = {name.partition("/")[0] + ("/" if "/" in name else "") for name in names}
    if not rest:
        listed = {name.rstrip("/") for name in listed} | ({"user-data"} if found.user_data else set())
    return Answer(status=200, body="\n".join(sorted(listed)).encode()) if listed else Answer(status=404)
