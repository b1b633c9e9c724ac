"""Whether a listing without most of what a host carries can be believed.

A listing proves a deletion only by the absence of a key. A store that lost its contents, or a member that answers with part of
them, looks the same. So the agent asks for proof before it removes most instances of a host.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Final

from netorch.errors import Compacted, OtherHistory
from netorch.records import keys
from netorch.store.base import Range, Store

MOST: Final = 10  # fewer placements may be missing without proof


def check_absence(store: Store, host: str, placed: Collection[str], listing: Range, known_at: Collection[int]) -> None:
    """Check a listing of a host's own records against the placements that the host knows, by key.

    It is believed if the host is drained, or if the store still shows the placements at one of the revisions `known_at`, at which
    the host knew them: then they were deleted since.

    Raises:
      OtherHistory: neither is so, and more than half of the placements, at least MOST, are missing.
    """
    listed = {kv.key for kv in listing.kvs}
    missing = [key for key in placed if key not in listed]
    if keys.host_drained(host) in listed:
        return
    revisions = sorted(filter(None, known_at))
    while _are_most(missing, placed) and revisions:
        with suppress(Compacted):
            then = store.revisions(keys.host_prefix(host), revisions.pop())
            missing = [key for key in missing if key not in then]
    if _are_most(missing, placed):
        raise OtherHistory(
            f"store: {len(missing)} of the {len(placed)} placements of this host are gone, and nothing shows that they were "
            "deleted; the host keeps what it has. Put back what was lost. "
            "If they are meant to be gone, stop the agent, remove its snapshot file and start it again"
        )


def _are_most(missing: Collection[str], placed: Collection[str]) -> bool:
    return len(missing) >= MOST and 2 * len(missing) > len(placed)
