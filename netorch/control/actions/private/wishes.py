"""Requests for VPN connections and tunnels, checked before anything is read or chosen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from netorch.control.base import checks
from netorch.control.base.private.sealing import make_psk
from netorch.errors import ApiError
from netorch.model.addr import Prefix
from netorch.model.outside import vpn_rules
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import MAX_LEARNED, TUNNELS, Authentication, TunnelOptions
from netorch.model.rules import Violation
from netorch.records.errors import invalid


class TunnelWish(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a requested tunnel; an omitted network or pre-shared key is chosen."""

    inside_cidr: str = ""
    options: TunnelOptions = TunnelOptions()
    secret: Secret | None = None  # the pre-shared key, or the certificate's private key
    certificate: str = ""  # the edge's, in PEM
    remote: str = ""  # address of AWS's end, if the tunnel leads to AWS


def checked_wish(
    where: str, tunnels: Sequence[TunnelWish], authentication: Authentication
) -> tuple[tuple[TunnelWish, ...], dict[int, Secret]]:
    """Return the requests for both tunnels, and the keys generated for tunnels without one, by tunnel (1, 2).

    Raises:
      ApiError: InvalidParameterValue, InvalidParameterCombination, MissingParameter.
    """
    if len(tunnels) > TUNNELS:
        raise invalid(where, f"{len(tunnels)} tunnels are given", f"a connection has {TUNNELS}")
    asked = (*tunnels, *[TunnelWish()] * (TUNNELS - len(tunnels)))
    made: dict[int, Secret] = {}
    for place, wish in enumerate(asked, 1):
        here = f"{where}: tunnel {place}"
        if wish.inside_cidr:
            _need(here, vpn_rules.inside_cidr(wish.inside_cidr))
        check_options(here, wish.options)
        check_secret(here, wish, authentication)
        if wish.secret is None and authentication is Authentication.PSK:
            made[place] = Secret(psk=make_psk())
    return asked, made


def check_options(where: str, options: TunnelOptions) -> None:
    """Refuse options that EC2 does not permit. Raises ApiError: InvalidParameterValue."""
    for field, violation in vpn_rules.options(options):
        raise invalid(f"{where}: {field}", violation.what, violation.fix)


def check_secret(where: str, wish: TunnelWish, authentication: Authentication) -> None:
    """Refuse an invalid secret, or one of the wrong kind. Raises ApiError; no text contains any part of a secret."""
    secret = wish.secret or Secret()
    if authentication is Authentication.PSK:
        if secret.key or wish.certificate:
            what = f"{where}: has a certificate, and the connection has pre-shared keys"
            raise ApiError("InvalidParameterCombination", f"{what}; give the CA of the customer's certificate as well")
        if wish.secret is not None:
            _need(where, vpn_rules.psk(secret.psk))
        return
    if secret.psk:
        what = f"{where}: has a pre-shared key, and the connection has certificates"
        raise ApiError("InvalidParameterCombination", f"{what}; leave one of the two out")
    if bool(wish.certificate) != bool(secret.key):
        text = f"{where}: has only one of a certificate and its private key; give both"
        raise ApiError("MissingParameter", text)
    if wish.certificate:
        _need(where, vpn_rules.certificates(wish.certificate))
        _need(where, vpn_rules.private_key(secret.key))


def checked_tunnels(
    where: str, routes: Sequence[str], local_cidr: str, remote_cidr: str, *, static: bool
) -> tuple[tuple[str, ...], str, str]:
    """Return routes and the networks at both ends in canonical form. Raises ApiError."""
    if routes and not static:
        text = f"{where}: has static routes, and the connection uses BGP; create a static connection"
        raise ApiError("InvalidParameterCombination", text)
    if len(routes) > MAX_LEARNED:
        raise ApiError("RouteLimitExceeded", f"{where}: {len(routes)} static routes are given; keep at most {MAX_LEARNED}")
    found = tuple(checked_route(where, text) for text in routes)
    for text in found:
        if found.count(text) > 1:
            raise invalid(where, f"the route to {text} is listed twice", "write it once")
    return found, checked_selector(where, local_cidr, static=static), checked_selector(where, remote_cidr, static=static)


def checked_route(where: str, text: str) -> str:
    """Return the CIDR of a network at an end of a connection, with host bits cleared as EC2 does. Raises ApiError."""
    return str(checks.cidr(text, where, "InvalidParameterValue", vpn_rules.traffic_cidr))


def checked_selector(where: str, text: str, *, static: bool) -> str:
    """Return the traffic selector of one end, with host bits cleared as EC2 does. Raises ApiError."""
    return str(checks.cidr(text, where, "InvalidParameterValue", partial(vpn_rules.selector, static=static)))


def _need(where: str, found: Prefix | Violation | None) -> None:
    if isinstance(found, Violation):
        raise invalid(where, found.what, found.fix)
