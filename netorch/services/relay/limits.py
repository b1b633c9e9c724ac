"""The relay's limits for one consumer's VPC and all of them. They are in one place, because their product is the memory use.

A connection holds at most CHUNK bytes in each direction in the process, and only while its other end does not accept
them. So all of them hold 512 MiB at worst, and a VPC a quarter of that. The kernel holds four buffers for a connection,
which are empty while it is idle. By default Linux would let each of them grow to some MiB.
"""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = 4_000  # of all VPCs
CONNECTIONS_OF_VPC: Final = 1_000  # however many endpoints it has
CHUNK: Final = 1 << 16  # bytes of one read
BUFFER: Final = 208 << 10  # of a socket, in each direction: Linux's default net.core.rmem_max; it allocates twice that
CHUNKS: Final = 4  # of one connection in a turn of the shared event loop

CONNECT_S: Final = 3.0  # for a target to accept a connection
TRIES: Final = 3  # targets tried for one connection, one after the other
QUIET_S: Final = 20.0  # without traffic, after which a connection may be reset for another one
IDLE_S: Final = 350.0  # after which an idle connection is reset: as in EC2's network load balancers, and elsewhere in netorch
