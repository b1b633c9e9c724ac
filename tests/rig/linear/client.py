"""A store client as a process: `python -m tests.rig.linear.client URL NUMBER` runs until its standard input ends.

It reads, compares and writes a few keys that all clients share. It prints each operation before the call, and again after it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from netorch.errors import StoreUnavailable
from netorch.store import open_store
from netorch.store.base import Compare, Delete, Put, Store
from tests.rig.linear.history import Line, Operation

KEYS = ("p/0", "p/1", "q/0")
PAUSE_S = 0.004
_REPOSITORY = Path(__file__).parents[3]
_encode = msgspec.json.Encoder().encode


def start_client(url: str, number: int, output: Path) -> subprocess.Popen[bytes]:
    """Start a client that writes its operations to a file."""
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    command = [sys.executable, "-m", "tests.rig.linear.client", url, str(number)]
    with output.open("wb") as file:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, env=environment, cwd=_REPOSITORY)


def main(url: str, client: int) -> None:
    chance = random.Random(client)
    store = open_store(url)
    ended = threading.Event()
    threading.Thread(target=_end_with_input, args=(ended,), daemon=True).start()
    known: dict[str, int] = {}
    number = 0
    while not ended.wait(PAUSE_S):
        number += 1
        _one(store, client, number, chance, known)
    store.close()


def _end_with_input(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _one(store: Store, client: int, number: int, chance: random.Random, known: dict[str, int]) -> None:
    asked = Operation(client=client, called=time.monotonic())
    if chance.random() < 0.5:
        keys = chance.sample(KEYS, chance.choice((1, 1, 2)))
        value = f"{client}.{number}"
        asked = Operation(
            client=client,
            called=asked.called,
            compares=tuple((key, known.get(key, 0)) for key in keys),
            puts=tuple((key, None if chance.random() < 0.15 else value) for key in keys),
        )
    _say(number, asked)
    try:
        answered = _ask(store, asked, known)
    except StoreUnavailable as error:
        print(error, file=sys.stderr)
        return
    _say(number, answered)


def _ask(store: Store, asked: Operation, known: dict[str, int]) -> Operation:
    if not asked.puts:
        listing = store.list("")
        known.clear()
        known.update({kv.key: kv.mod_revision for kv in listing.kvs})
        found = {kv.key: (kv.value.decode(), kv.mod_revision) for kv in listing.kvs}
        return msgspec.structs.replace(asked, returned=time.monotonic(), revision=listing.revision, found=found)
    compares = [Compare(key, revision) for key, revision in asked.compares]
    ops = [Put(key, value.encode()) if value is not None else Delete(key) for key, value in asked.puts]
    result = store.txn(compares, ops)
    return msgspec.structs.replace(asked, returned=time.monotonic(), succeeded=result.succeeded, revision=result.revision)


def _say(number: int, operation: Operation) -> None:
    sys.stdout.buffer.write(_encode(Line(number=number, operation=operation)) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
