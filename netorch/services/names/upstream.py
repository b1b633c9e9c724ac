"""Asks the operator's resolvers, from the host's own network.

Each question has a socket, a port and an id of its own, all by lot. An answer counts only if it comes from whom was asked, and
has that id and that question; all else is passed over (RFC 5452). A cut answer is asked for again by TCP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import dns._asyncio_backend  # dnspython would import it when it is first needed
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rrset
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.cache import Reply

TRY_S: Final = 1.5  # for one server
TRIES: Final = 3  # at all servers together
PAYLOAD: Final = 1232  # bytes. Source: DNS Flag Day 2020
_CHAIN: Final = 16
_BACKEND: Final = dns._asyncio_backend.Backend()
PORT: Final = 53

FAILED: Final = Reply(rcode=Rcode.SERVFAIL)


async def ask(servers: Sequence[str], name: Name, rdtype: RdataType, port: int = PORT) -> Reply:
    """Return what the first of some servers that answers says; SERVFAIL if none does."""
    for server in [*servers, *servers, *servers][:TRIES]:
        question = dns.message.make_query(name, rdtype, use_edns=0, payload=PAYLOAD)
        try:
            reply, _ = await dns.asyncquery.udp_with_fallback(
                question, server, TRY_S, port, ignore_unexpected=True, ignore_errors=True, backend=_BACKEND
            )
        except (dns.exception.DNSException, OSError, EOFError, asyncio.IncompleteReadError):
            continue
        if reply.rcode() in (Rcode.NOERROR, Rcode.NXDOMAIN):
            return _checked(reply, name, rdtype)
    return FAILED


def _checked(message: dns.message.Message, name: Name, rdtype: RdataType) -> Reply:
    """Return what a message says of what was asked: the records of that name, and of those that CNAME records lead to."""
    answer: list[dns.rrset.RRset] = []
    by_owner = {(rrset.name.canonicalize(), rrset.rdtype): rrset for rrset in message.answer}
    for _ in range(_CHAIN):
        found = by_owner.get((name.canonicalize(), rdtype))
        alias = by_owner.get((name.canonicalize(), RdataType.CNAME))
        if found is not None or alias is None:
            answer += [found] if found is not None else []
            break
        answer.append(alias)
        name = alias[0].target
    authority = [rrset for rrset in message.authority if rrset.rdtype == RdataType.SOA and name.is_subdomain(rrset.name)]
    return Reply(rcode=message.rcode(), answer=answer, authority=() if answer and answer[-1].rdtype == rdtype else authority[:1])
