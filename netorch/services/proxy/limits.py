"""The proxy's limits for one client, one VPC and all of them. They are in one place, because their product is the memory use.

A connection holds at most some 300 KiB of the process's memory: data read ahead but not yet forwarded (twice
READ_AHEAD), and its head. So all of them hold 1.2 GiB at worst, and a VPC a quarter of that. The kernel holds a PIPE
for each body in transit.
"""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = 4_000  # of all VPCs
CONNECTIONS_OF_VPC: Final = 1_000  # however many endpoints the VPC has; most have one
READ_AHEAD: Final = 1 << 17  # unprocessed bytes from a client or from the server
PIPE: Final = 1 << 18  # bytes of a body in transit

LINE: Final = 8_190  # bytes of a request line, which may hold a presigned URL
FIELD: Final = 8_190  # bytes of a header
FIELDS: Final = 100  # headers
HEAD: Final = 1 << 16  # bytes of all headers together
HELLO: Final = 16_384  # bytes of a ClientHello
LISTS: Final = 32 << 20  # bytes of all buffered bodies together: lists of keys, which must be read to judge the request
LISTS_OF_VPC: Final = 8 << 20  # of one VPC's clients
EFFORT: Final = 4_000_000  # pattern comparison steps for one list of keys; some 100 ns each
EFFORT_AT_ONCE: Final = 50_000  # of these, before other requests get their turn
KEYS_AT_ONCE: Final = 32

IDLE_S: Final = 60.0  # between requests
HEAD_S: Final = 10.0  # for a head, from its first byte
GRACE_S: Final = 20.0  # how long a client may keep the proxy waiting beyond the time that its bytes have earned
RATE: Final = 4_096  # bytes/s that a client must send or receive at least, on average
TUNNEL_IDLE_S: Final = 350.0  # of a tunnel without traffic
LINGER_S: Final = 5.0  # for a client to end a refused body

CONNECT_S: Final = 5.0  # for the server to accept a connection
SERVER_S: Final = 120.0  # for the server to send something
POOLED: Final = 64  # unused server connections that an endpoint keeps
POOLED_S: Final = 15.0  # how long an unused server connection is kept
FRESH_S: Final = 2.0  # how long it is used for requests that cannot be repeated: no server closes connections that soon
