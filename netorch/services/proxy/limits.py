"""What one client, one VPC and all of them may take of the proxy. One place, because memory is their product.

A connection holds at most some 300 KiB here: what was read ahead and not yet passed on (twice READ_AHEAD), and its head. So all
of them hold 1.2 GiB at the very worst, and a VPC a quarter of that. The kernel holds a PIPE of each body that is under way.
"""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = 4_000  # of all VPCs
CONNECTIONS_OF_VPC: Final = 1_000  # most VPCs have one endpoint; more give no more
READ_AHEAD: Final = 1 << 17  # bytes that have come, from a client or from the server behind, and nobody has taken
PIPE: Final = 1 << 18  # bytes of a body on the way from one to the other

LINE: Final = 8_190  # bytes of a request line, which holds a presigned URL
FIELD: Final = 8_190  # bytes of a header
FIELDS: Final = 100  # headers
HEAD: Final = 1 << 16  # bytes of all of them together
HELLO: Final = 16_384  # bytes of a ClientHello
LISTS: Final = 32 << 20  # bytes of all bodies together that must be read to know what they ask for: lists of keys
LISTS_OF_VPC: Final = 8 << 20  # of one VPC's clients
EFFORT: Final = 4_000_000  # steps of comparing patterns for one list of keys; some 100 ns each
EFFORT_AT_ONCE: Final = 50_000  # of these, before other requests have their turn
KEYS_AT_ONCE: Final = 32

IDLE_S: Final = 60.0  # between requests
HEAD_S: Final = 10.0  # for a head, from its first byte on
GRACE_S: Final = 20.0  # how long a client may make the proxy wait beyond what its bytes have earned
RATE: Final = 4_096  # bytes/s: what a client must at least send, or take, in the long run
TUNNEL_IDLE_S: Final = 350.0  # of a tunnel in which nothing moves
LINGER_S: Final = 5.0  # for a client to end a body that was refused

CONNECT_S: Final = 5.0  # for the server behind to take a connection
SERVER_S: Final = 120.0  # for it to say something
POOLED: Final = 64  # unused connections to it that an endpoint keeps
POOLED_S: Final = 15.0  # how long an unused connection to it is kept
FRESH_S: Final = 2.0  # how long it is used for what cannot be sent twice: no server closes connections that soon
