"""The mapping in an agent's memory: time of a lookup, and bytes for each mapping beside those of the kernel's route.

An agent holds the mappings of the VPCs that it carries: decoded for its compilers, and as stored for its snapshot. Packets never
wait for it: their lookup is the kernel's (docs/design/dataplane.md).
"""

from __future__ import annotations

import random
import time
from typing import Final

from common import Figure, anonymous_bytes, show

from netorch.agent.records import Records
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.alloc import mac_address

OF_A_VPC: Final = 100
FIRST_VNI: Final = 0x10000
LOOKUPS: Final = 200_000
ROUNDS: Final = 5


def place(number: int) -> tuple[int, str]:
    """Return the VNI and the address of a mapping."""
    vpc, own = divmod(number, OF_A_VPC)
    return FIRST_VNI + vpc, f"10.0.{own // 250}.{own % 250 + 4}"


def record(number: int) -> tuple[str, bytes]:
    """Return the key and the value of a mapping."""
    vni, address = place(number)
    host = number % 1_000
    mapping = Mapping(
        vni=vni,
        address=address,
        eni=make_id("eni", vni, number),
        mac=mac_address(number),
        host=f"h{host:04d}",
        vtep=f"198.18.{host // 250}.{host % 250 + 1}",
        groups=(make_id("sg", vni, number % 3),),
    )
    return keys.mapping(vni, address), encode(mapping)


def lookup_ns(records: Records, mappings: int) -> float:
    """Return the nanoseconds of CPU of a lookup by VNI and address, in the best of several rounds, with the loop around it."""
    places = [place(number) for number in random.choices(range(mappings), k=LOOKUPS)]
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for vni, address in places:
            _ = records.vpcs[vni].mappings[address]
        best = min(best, time.process_time() - begin)
    return best / LOOKUPS * 1e9


def measure(mappings: int) -> int:
    """Print the table; return the number of missed goals."""
    random.seed(1)
    records = Records("h0000")
    for number in range(0, mappings, OF_A_VPC):
        vni, _ = place(number)
        vpc = Vpc(id=make_id("vpc", vni, 1), vni=vni, owner="customer", name="net", cidrs=("10.0.0.0/16",))
        records.put(keys.vpc(vni), encode(vpc), 1)
    records.put(*record(0), 1)
    records.take_dirty()
    before, size = anonymous_bytes("self"), 0
    for number in range(1, mappings):
        key, value = record(number)
        records.put(key, value, number)
        size += len(key) + len(value)
        if number % 1_000 == 0:
            records.take_dirty()
    records.take_dirty()
    held = (anonymous_bytes("self") - before) / mappings
    figures = [
        Figure(name="lookup", value=lookup_ns(records, mappings), unit="ns", goal=1_000, digits=0),
        Figure(name="RAM of a mapping", value=held, unit="B", goal=128, digits=0),
        Figure(name="  of them as stored", value=size / mappings, unit="B", digits=0, note="key and value"),
    ]
    return show(f"{mappings:,} mappings in an agent", figures)
