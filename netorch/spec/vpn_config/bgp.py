"""The BGP configuration of the customer's device for bird 2 and FRR: one policy over both tunnels.

The device announces its connected networks that its owner lists in the file. It accepts the VPC's current CIDRs. So a mistake at
either end does not divert other traffic.
"""

from __future__ import annotations

from typing import Final

from netorch.spec.vpn_config.facts import EXAMPLE, HOLD_TIME_S, KEEPALIVE_S, Ends, Facts, Keys, head, need_bgp

_RETRY_S: Final = 5  # interval between connection attempts


def bird_conf(facts: Facts, _keys: Keys) -> str:
    """Return bird.conf. Raises ApiError: the connection has static routes."""
    need_bgp(facts, "bird")
    sections = [
        [
            *head(facts, "bird.conf, for bird 2", "#"),
            "# Store it as /etc/bird/bird.conf, then: birdc configure. swanctl.conf names the devices.",
        ],
        [
            "# Your networks that the VPC may reach. Of these, the networks connected to this device are announced.",
            f"define LOCAL_NETWORKS = [ {EXAMPLE}+ ];",
            "# The VPC's networks.",
            f"define VPC_NETWORKS = [ {', '.join(facts.cidrs)} ];",
        ],
        [
            f"router id {facts.ends[0].customer_inside};",
            "protocol device { }",
            "protocol direct { ipv4; }",
            "protocol kernel {",
            "  merge paths on;  # both tunnels are used at once",
            "  ipv4 { import none; export where source = RTS_BGP; };",
            "}",
            "protocol bfd { }",
        ],
        *(_bird_session(facts, ends) for ends in facts.ends),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _bird_session(facts: Facts, ends: Ends) -> list[str]:
    return [
        f"protocol bgp {ends.device} {{  # {ends.name}",
        f"  local {ends.customer_inside} as {facts.connection.asn};",
        f"  neighbor {ends.edge_inside} as {facts.gateway.asn};",
        f'  interface "{ends.device}";',
        f"  hold time {HOLD_TIME_S};",
        f"  keepalive time {KEEPALIVE_S};",
        f"  connect retry time {_RETRY_S};",
        f"  error wait time 1, {_RETRY_S};  # bird's default is up to five minutes, in which it refuses the edge's connections",
        "  bfd on;  # a silent peer is noticed within a second; EC2 has no BFD",
        "  ipv4 {",
        "    import where net ~ VPC_NETWORKS;",
        "    export where source = RTS_DEVICE && net ~ LOCAL_NETWORKS;",
        "  };",
        "}",
    ]


def frr_conf(facts: Facts, _keys: Keys) -> str:
    """Return frr.conf for bgpd. Raises ApiError: the connection has static routes."""
    need_bgp(facts, "FRR")
    allowed = (f"ip prefix-list VPC-NETWORKS seq {place * 5} permit {cidr}" for place, cidr in enumerate(facts.cidrs, 1))
    lines = [
        *head(facts, "frr.conf, for bgpd of FRR", "!"),
        "! Store it as /etc/frr/frr.conf, with bgpd=yes and bfdd=yes in /etc/frr/daemons. swanctl.conf names the devices.",
        "frr defaults traditional",
        "!",
        "! Your networks that the VPC may reach. Of these, the networks connected to this device are announced.",
        f"ip prefix-list LOCAL-NETWORKS seq 5 permit {EXAMPLE} le 32",
        "! The VPC's networks.",
        *allowed,
        "!",
        f"router bgp {facts.connection.asn}",
        f" bgp router-id {facts.ends[0].customer_inside}",
        *(line for ends in facts.ends for line in _frr_neighbour(facts, ends)),
        " address-family ipv4 unicast",
        "  redistribute connected",
        f"  maximum-paths {len(facts.ends)}",
        *(line for ends in facts.ends for line in _frr_policy(ends)),
        " exit-address-family",
        "exit",
        "!",
    ]
    return "\n".join(lines) + "\n"


def _frr_neighbour(facts: Facts, ends: Ends) -> list[str]:
    return [
        f" neighbor {ends.edge_inside} remote-as {facts.gateway.asn}",
        f" neighbor {ends.edge_inside} description {ends.name}",
        f" neighbor {ends.edge_inside} timers {KEEPALIVE_S} {HOLD_TIME_S}",
        f" neighbor {ends.edge_inside} timers connect {_RETRY_S}",
        f" neighbor {ends.edge_inside} bfd",
    ]


def _frr_policy(ends: Ends) -> list[str]:
    return [
        f"  neighbor {ends.edge_inside} activate",
        f"  neighbor {ends.edge_inside} prefix-list VPC-NETWORKS in",
        f"  neighbor {ends.edge_inside} prefix-list LOCAL-NETWORKS out",
    ]
