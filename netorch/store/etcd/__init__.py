"""A store in an etcd cluster, for clouds of many machines: the same `Store` as a SQLite file for one machine.

`messages` defines the wire format, `client` calls a member that responds, `keyspace` translates keys and revisions,
`commit` makes a transaction happen exactly once, `store` implements the contract, and `frontier`, `stream` and `watch`
follow changes.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would repeat the error of every failed call on stderr
