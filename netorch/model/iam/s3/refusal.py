"""Why a request to S3 is refused before any policy is asked."""

from __future__ import annotations

from typing import Final

import msgspec

_STATUS: Final = {"MethodNotAllowed": 405, "NotImplemented": 501}


class Refusal(msgspec.Struct, frozen=True):
    """One of S3's error codes, and the sentence for its message."""

    code: str
    what: str

    @property
    def status(self) -> int:
        """Return the HTTP status of the answer."""
        return _STATUS.get(self.code, 400)
