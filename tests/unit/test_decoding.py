"""Decoders that several threads ask for at once."""

from __future__ import annotations

import threading

import msgspec

from netorch.model.record import decoder_of


def test_threads_that_are_the_first_to_use_a_type_get_one_decoder() -> None:
    class New(msgspec.Struct):
        number: int

    barrier, found = threading.Barrier(8), []

    def first_use() -> None:
        barrier.wait()
        decoder = decoder_of(New)
        found.append((decoder, decoder.decode(b'{"number":7}').number))

    threads = [threading.Thread(target=first_use, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(decoder_of(New), 7)] * 8
