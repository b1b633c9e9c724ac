"""Messages that load connections into charon, built from objects; pure.

charon shows neither secrets nor all options, but it shows names. So names contain digests: a CHILD_SA configuration's name
has one of all options, and a pre-shared key's id has one of its box. A CHILD_SA keeps the name of the configuration that made
it, which shows whether that was the present one. The first digest in the name is of the options that an SA must not outlive.
"""

from __future__ import annotations

import errno
import json
from hashlib import blake2b
from typing import Final

from netorch.drivers.charon.control import CharonError, Section
from netorch.drivers.charon.settings import GIVEN_UP_S
from netorch.model.outside.ike_identity import is_identity, is_same
from netorch.state.daemons.ike import IkeConnection

ANY: Final = "%any"
_IKEV2: Final = 2


def child_name(connection: IkeConnection) -> str:
    """Return the name of the CHILD_SA configuration."""
    return f"{connection.name}.{_digest(_lasting(connection))}.{_digest(_options(connection))}"


def outlived(name: str, connection: IkeConnection) -> bool:
    """Return whether a CHILD_SA with this name was made with options that the present connection must not use."""
    return name.rpartition(".")[0] != child_name(connection).rpartition(".")[0]


def shared_id(connection: IkeConnection) -> str:
    """Return the id of the pre-shared key."""
    return f"{connection.name}.{_digest(connection.secret)}"


def load_conn(connection: IkeConnection) -> Section:
    """Return the message that loads a connection.

    Raises:
      CharonError: an identity matches more than one device, the device has the edge's identity, or its pre-shared key would
        let it pose as another device.
    """
    for identity in filter(None, (connection.local_identity, connection.remote_identity)):
        if not is_identity(identity):
            raise CharonError(f"{identity!r} is not the identity of a single device", errno.EINVAL)
    if connection.remote_identity and is_same(connection.local_identity, connection.remote_identity):
        raise CharonError(f"{connection.remote_identity!r} is the identity of both this edge and the device", errno.EINVAL)
    if not connection.certificate and not connection.remote_identity:
        raise CharonError(f"{connection.name} is open to any device, and so is its pre-shared key", errno.EINVAL)
    if connection.version != _IKEV2 and not connection.certificate and connection.remote_identity != connection.remote:
        raise CharonError(f"{connection.name} uses IKEv1, in which only the address identifies the key", errno.EINVAL)
    options = _options(connection)
    options["children"] = {child_name(connection): options["children"]}
    return {connection.name: options}


def load_shared(connection: IkeConnection, psk: str) -> Section:
    """Return the message that loads its pre-shared key.

    The device owns the key, not the edge: charon accepts any key owned by either end, and would take any other customer's key
    as proof that the customer is this device (shared_filter in mem_cred.c, process in psk_authenticator.c).
    """
    return {"id": shared_id(connection), "type": "IKE", "data": psk, "owners": [connection.remote_identity]}


def _options(connection: IkeConnection) -> Section:
    margin = connection.rekey_margin
    fuzz = margin * connection.rekey_fuzz // 100
    return {
        "version": str(connection.version),
        "local_addrs": [connection.local],
        "remote_addrs": [connection.remote or ANY],
        "proposals": list(connection.proposals),
        "rekey_time": _seconds(connection.lifetime - margin),
        "over_time": _seconds(margin),
        "rand_time": _seconds(fuzz),
        "dpd_delay": _seconds(0 if connection.dpd_action == "none" else connection.dpd_delay),
        "dpd_timeout": _seconds(connection.dpd_delay + int(GIVEN_UP_S)),  # IKEv1 only; IKEv2 uses its retransmissions
        "unique": "never",  # `upkeep` ends duplicates: charon would let the peer end what carries packets (INITIAL_CONTACT)
        "mobike": "no",
        "keyingtries": "0" if connection.dpd_action == "restart" else "1",
        "local": _local(connection),
        "remote": _remote(connection),
        "children": {
            "local_ts": [connection.local_traffic],
            "remote_ts": [connection.remote_traffic],
            "esp_proposals": list(connection.child_proposals),
            "if_id_in": str(connection.if_id),
            "if_id_out": str(connection.if_id),
            "rekey_time": _seconds(connection.child_lifetime - margin),
            "life_time": _seconds(connection.child_lifetime),
            "rand_time": _seconds(fuzz),
            "replay_window": str(connection.replay_window),
            "start_action": "none",  # `upkeep` initiates: charon would terminate a connection's SAs when it is loaded again
            "dpd_action": "restart" if connection.dpd_action == "restart" else "clear",
            "close_action": "none",
        },
    }


def _local(connection: IkeConnection) -> Section:
    if not connection.certificate:
        return {"auth": "psk", "id": connection.local_identity}
    return {"auth": "pubkey", "id": connection.local_identity, "certs": [connection.certificate]}


def _remote(connection: IkeConnection) -> Section:
    identity = connection.remote_identity or ANY
    if not connection.certificate:
        return {"auth": "psk", "id": identity}
    return {"auth": "pubkey", "id": identity, "cacerts": [connection.authority]}


def _lasting(connection: IkeConnection) -> list[str | int]:
    ends = [connection.local, connection.remote, connection.local_identity, connection.remote_identity]
    by = ["certificate", connection.authority] if connection.certificate else ["psk"]
    return [*ends, *by, connection.local_traffic, connection.remote_traffic, connection.if_id]


def _digest(value: object) -> str:
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=6).hexdigest()


def _seconds(number: int) -> str:
    return f"{number}s"
