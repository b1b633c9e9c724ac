"""The refusal of a request to S3 before the policies are evaluated."""

from __future__ import annotations

from typing import Final

import msgspec

_STATUS: Final = {"MethodNotAllowed": 405, "NotImplemented": 501}


class Refusal(msgspec.Struct, frozen=True):
    """One of S3's error codes, and the error message."""

    code: str
    what: str

    @property
    def status(self) -> int:
        """Return the HTTP status of the response."""
        return _STATUS.get(self.code, 400)
