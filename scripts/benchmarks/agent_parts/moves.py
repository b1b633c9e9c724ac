"""Moves of an instance between three hosts under TCP, with etcd as the store: how long its connection is silent.

In the lab kernel, with real agents as processes, real routes and real rules; etcd runs in the same kernel, on its one processor.
A client on another host says a word each 5 ms on one TCP connection, and the moved instance echoes it. The blackout of a move is
the longest silence between two echoes, so it includes TCP's retransmission of what was lost. During each move a client that the
instance's group does not permit tries to connect. The run fails if the connection ends.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from common import Figure, percentile, show

from tests.rig.etcd.world import world_on_etcd
from tests.rig.moves.moved import TARGETS, MovedInstance


def measure(moves: int, members: int) -> int:
    """Print the figures of so many moves; return the number of missed goals."""
    with (
        tempfile.TemporaryDirectory() as directory,
        world_on_etcd(Path(directory), members) as world,
        closing(MovedInstance(world)) as instance,
    ):
        found = [instance.move(TARGETS[number % len(TARGETS)]) for number in range(moves)]
        words = instance.talk.said
    silences = [each.silence_s * 1e3 for each in found]
    figures = [
        Figure(name="blackout of a move, p50", value=percentile(silences, 50), unit="ms", digits=0, note=f"{words:,} words"),
        Figure(name="  p90", value=percentile(silences, 90), unit="ms", digits=0),
        Figure(name="  p99", value=percentile(silences, 99), unit="ms", goal=400.0, digits=0),
        Figure(name="  max", value=max(silences), unit="ms", digits=0),
        Figure(name="refused connections that opened", value=sum(each.was_open for each in found), goal=0, digits=0),
    ]
    return show(f"{moves} moves under one TCP connection, {members} of etcd, in the lab kernel", figures)
