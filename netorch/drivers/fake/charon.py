"""An in-memory charon: the connections loaded into it. Tests set the state of their SAs (`FakeKernel.set_tunnel`)."""

from __future__ import annotations

import errno
import re
from ipaddress import ip_network
from typing import Final

from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.charon.control import CharonError
from netorch.drivers.charon.driver import Charon
from netorch.drivers.charon.messages import load_conn
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.state.base import KernelObject
from netorch.state.daemons.ike import IkeConnection

_WORD: Final = "aes(128|192|256)(gcm16)?|(prf)?sha(1|256|384|512)|ecp[0-9]{3}|modp[0-9]{4}(s[0-9]{3})?"
_PROPOSAL: Final = re.compile(rf"({_WORD})(-({_WORD}))+")
UNOPENABLE: Final = ""  # a secret that cannot be decrypted; all others can


class FakeCharon(FakeDriver):
    """The fake of `netorch.drivers.charon`."""

    def __init__(self, host: FakeHost, netns: str) -> None:
        super().__init__(host, netns, Charon.kinds)

    def check(self, obj: KernelObject) -> None:
        """Refuse connections that charon refuses, and a secret that cannot be decrypted."""
        super().check(obj)
        assert isinstance(obj, IkeConnection)
        if obj.secret == UNOPENABLE:
            raise OSError(errno.EKEYREJECTED, "it was sealed for another key than this edge has; set it again")
        try:
            load_conn(obj)
            for cidr in (obj.local_traffic, obj.remote_traffic):
                ip_network(cidr)
        except (CharonError, ValueError) as error:
            raise OSError(errno.EINVAL, str(error)) from error
        if not all(_PROPOSAL.fullmatch(proposal) for proposal in (*obj.proposals, *obj.child_proposals)):
            raise OSError(errno.EINVAL, "charon: invalid value for: proposals, config discarded")

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return Lost, as after charon's exit."""
        return [Lost(self.kinds)]
