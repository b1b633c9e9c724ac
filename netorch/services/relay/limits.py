"""What one consumer's VPC and all of them may take of the relay. One place, because memory is their product.

A connection holds at most CHUNK bytes each way here, and only while its other end does not take them. So all of them hold 512
MiB at the very worst, and a VPC a quarter of that. The kernel holds four buffers of a connection, which are empty while it is
idle. By itself Linux would let each of them grow to some MiB.
"""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = 4_000  # of all VPCs
CONNECTIONS_OF_VPC: Final = 1_000  # however many endpoints it has
CHUNK: Final = 1 << 16  # bytes that are read at once
BUFFER: Final = 208 << 10  # of a socket, each way: as much as Linux lets anybody ask for (net.core.rmem_max); it takes twice that
CHUNKS: Final = 4  # of one connection in a turn of the event loop, which all share

CONNECT_S: Final = 3.0  # for a target to take a connection
TRIES: Final = 3  # targets that are asked for one connection, one after the other
QUIET_S: Final = 20.0  # after which a connection in which nothing moves may go for another one
IDLE_S: Final = 350.0  # after which it goes in any case: EC2's of network load balancers, and that of the other connections here
