"""A store in an etcd cluster, for clouds of many machines: the same `Store` as a SQLite file is for one.

`messages` says what goes over the wire, `client` makes calls to whichever member answers, `keyspace` translates keys and
revisions, `commit` makes a transaction happen exactly once, `store` keeps the contract, and `frontier`, `stream` and `watch`
follow what happens.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would write to stderr what every failed call tells, too
