"""The address of a store in etcd: `etcd://HOST:PORT,HOST:PORT/NAME?ca=FILE&cert=FILE&key=FILE`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from netorch.errors import StoreError

SCHEME: Final = "etcd://"
DEFAULT_PORT: Final = 2379
DEFAULT_NAME: Final = "netorch"
_FILES: Final = ("ca", "cert", "key")
_MEMBER: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]{1,5}))?")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_USAGE: Final = "give 'etcd://HOST:PORT,HOST:PORT/NAME?ca=FILE&cert=FILE&key=FILE'; NAME, cert and key may be left out"
_LOCAL: Final = re.compile(r"(127\.[0-9.]+|localhost|\[::1\]):[0-9]+")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a cluster, the name of the store in it, and the PEM files for TLS.

    With `ca` the members must authenticate by TLS; with `cert` and `key` this side does, too. Only members on this machine may
    do without. A cluster may have several stores of different names.
    """

    members: tuple[str, ...]
    name: str = DEFAULT_NAME
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def text(self) -> str:
        """Return the address for people, without its files."""
        return f"{SCHEME}{','.join(self.members)}/{self.name}"


def parse_address(url: str) -> Address:
    """Return the address in a URL.

    Raises:
      StoreError: it is no valid etcd URL; the text gives the reason.
    """
    place, _, options = url.removeprefix(SCHEME).partition("?")
    hosts, _, path = place.partition("/")
    try:
        query = parse_qsl(options, keep_blank_values=True, strict_parsing=bool(options))
    except ValueError as error:
        raise _wrong(url, f"{options!r} is not a list of OPTION=FILE") from error
    members = tuple(_member(url, text) for text in hosts.split(","))
    if len(set(members)) != len(members):
        raise _wrong(url, "names a member twice")
    name = path.rstrip("/") or DEFAULT_NAME
    if not _NAME.fullmatch(name):
        raise _wrong(url, f"the name {name!r} may contain only letters, digits, '.', '_' and '-'")
    files = {option: Path(file).absolute() for option, file in query if file}
    for option, _ in query:
        if option not in _FILES:
            raise _wrong(url, f"has the option {option!r}, which is not one of {', '.join(_FILES)}")
    if len(files) != len(query):
        raise _wrong(url, "has an option twice or without a file")
    if ("cert" in files) != ("key" in files) or ("cert" in files and "ca" not in files):
        raise _wrong(url, "has a client certificate without its key, or without the CA of the members")
    if "ca" not in files and not all(map(_LOCAL.fullmatch, members)):
        raise _wrong(url, "without ca, anybody between this machine and the members could read and change all records")
    return Address(members=members, name=name, ca=files.get("ca"), cert=files.get("cert"), key=files.get("key"))


def _member(url: str, text: str) -> str:
    found = _MEMBER.fullmatch(text)
    if found is None or not 0 < int(found["port"] or DEFAULT_PORT) < 65536:
        raise _wrong(url, f"the member {text!r} is not HOST:PORT")
    return f"{found['host']}:{found['port'] or DEFAULT_PORT}"


def _wrong(url: str, what: str) -> StoreError:
    return StoreError(f"store: {url!r} is not a store address: {what}; {_USAGE}")
