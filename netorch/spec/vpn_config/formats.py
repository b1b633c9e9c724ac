"""The formats of configurations for the customer's side, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from netorch.spec.vpn_config.aws import connection_json, gateway_configuration
from netorch.spec.vpn_config.bgp import bird_conf, frr_conf
from netorch.spec.vpn_config.facts import Facts, Keys
from netorch.spec.vpn_config.swanctl import swanctl_conf

FORMATS: Final[dict[str, Callable[[Facts, Keys], str]]] = {
    "swanctl": swanctl_conf,
    "bird": bird_conf,
    "frr": frr_conf,
    "aws-xml": gateway_configuration,
    "json": connection_json,
}
