"""swanctl.conf for the customer's device (strongSwan 5.9 and later), with the commands for its network devices and routes.

The tunnels are route-based: an xfrm interface uses the SAs of its if_id, and routes select the traffic. Options: swanctl.conf(5).
"""

from __future__ import annotations

from typing import Final

from netorch.model.outside.proposals import proposals
from netorch.model.outside.tunnel_mtu import inside_mss, inside_mtu
from netorch.model.outside.vpn import Authentication
from netorch.spec.vpn_config.facts import DPD_RETRIES, Ends, Facts, Keys, head, placeholder

COMMAND: Final = "#     "  # prefix of a line with a shell command
_METRIC: Final = 100  # of static routes through tunnel 1; tunnel 2 has twice this metric


def swanctl_conf(facts: Facts, keys: Keys) -> str:
    """Return swanctl.conf."""
    sections = [
        head(facts, "swanctl.conf", "#"),
        ["# Store it as /etc/swanctl/conf.d/ANY.conf, readable by root only, then: swanctl --load-all"],
        _daemon(facts),
        _devices(facts),
        *([_certificates(facts)] if facts.has_certificates else []),
        ["connections {", *(line for ends in facts.ends for line in _connection(ends)), "}"],
    ]
    if not facts.has_certificates:
        sections.append(["secrets {", *(line for ends in facts.ends for line in _secret(ends, keys)), "}"])
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def quoted(text: str) -> str:
    """Return a text quoted so that strongSwan's parser reads it unchanged (libstrongswan, settings_lexer.l)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _daemon(facts: Facts) -> list[str]:
    timeout = min(ends.tunnel.options.dpd_timeout for ends in facts.ends)
    wait = (timeout - _dpd_delay(timeout)) / (DPD_RETRIES + 1)
    return [
        "# charon must not install routes, because the devices below have their own, and must consider the peer dead after",
        f"# {timeout} s. In /etc/strongswan.d/charon.conf:",
        "#",
        "#     charon {",
        "#       install_routes = no",
        "#       install_virtual_ip = no",
        f"#       retransmit_timeout = {wait:g}",
        f"#       retransmit_tries = {DPD_RETRIES}",
        "#       retransmit_base = 1",
        "#     }",
    ]


def _devices(facts: Facts) -> list[str]:
    devices = [ends.device for ends in facts.ends]
    mss = min(inside_mss(ends.tunnel.options) for ends in facts.ends)
    names = ", ".join(f'"{device}"' for device in devices)
    clamp = f"tcp flags syn tcp option maxseg size set {mss}"
    commands = [command for ends in facts.ends for command in _device(ends)]
    commands += [f"sysctl -w net.ipv4.ip_forward=1 {' '.join(f'net.ipv4.conf.{name}.rp_filter=2' for name in devices)}"]
    commands += [
        f"nft add table inet {devices[0]}",
        f"nft 'add chain inet {devices[0]} mss {{ type filter hook forward priority mangle; }}'",
        f"nft 'add rule inet {devices[0]} mss oifname {{ {names} }} {clamp}'",
        f"nft 'add rule inet {devices[0]} mss iifname {{ {names} }} {clamp}'",
    ]
    if facts.connection.static:
        said = [
            "# Devices and routes, as root. Routes are static: the first tunnel's are used while its device is up.",
            "# Take it down (ip link set DEVICE down) while that tunnel is down.",
        ]
        places = enumerate(facts.ends, 1)
        commands += [
            f"ip route add {cidr} dev {ends.device} metric {_METRIC * place}" for place, ends in places for cidr in facts.cidrs
        ]
    else:
        said = ["# Devices, as root. BGP provides the routes: `netorch vpn config` also writes bird.conf and frr.conf."]
    return [*said, "#", *(f"{COMMAND}{command}" for command in commands)]


def _device(ends: Ends) -> list[str]:
    return [
        f"ip link add {ends.device} type xfrm if_id {ends.if_id:#x}",
        f"ip address add {ends.customer_inside}/30 dev {ends.device}",
        f"ip link set {ends.device} up mtu {inside_mtu(ends.tunnel.options)}",
    ]


def _certificates(facts: Facts) -> list[str]:
    lines = [
        "# Your certificate is /etc/swanctl/x509/customer.pem, its private key is in /etc/swanctl/private.",
        "# The edges' certificates are below; store each in /etc/swanctl/x509.",
    ]
    for ends in facts.ends:
        pem = facts.connection.certificates.get(ends.tunnel.edge, "")
        lines += ["#", f"# {ends.name}.pem:", *(f"# {line}" for line in pem.splitlines())]
    return lines


def _connection(ends: Ends) -> list[str]:
    options = ends.tunnel.options
    first = "ikev2" not in options.ike_versions
    margin, spread = options.rekey_margin, options.rekey_margin * options.rekey_fuzz // 100
    return [
        f"  {ends.name} {{",
        f"    version = {1 if first else 2}",
        f"    remote_addrs = {ends.tunnel.address}",
        f"    proposals = {', '.join(proposals(options, 1))}",
        f"    rekey_time = {options.phase1_lifetime - margin}s",
        f"    over_time = {margin}s",
        f"    rand_time = {spread}s",
        f"    dpd_delay = {_dpd_delay(options.dpd_timeout)}s",
        *([f"    dpd_timeout = {options.dpd_timeout}s"] if first else []),
        "    keyingtries = 0",
        *_sides(ends),
        "    children {",
        f"      {ends.name} {{",
        f"        local_ts = {ends.connection.local_cidr}",
        f"        remote_ts = {ends.connection.remote_cidr}",
        f"        esp_proposals = {', '.join(proposals(options, 2))}",
        f"        if_id_in = {ends.if_id:#x}",
        f"        if_id_out = {ends.if_id:#x}",
        f"        rekey_time = {options.phase2_lifetime - margin}s",
        f"        life_time = {options.phase2_lifetime}s",
        f"        rand_time = {spread}s",
        f"        replay_window = {options.replay_window}",
        "        start_action = start",
        "        close_action = start",
        "        dpd_action = restart",
        "      }",
        "    }",
        "  }",
    ]


def _sides(ends: Ends) -> list[str]:
    if ends.connection.authentication is Authentication.CERTIFICATE:
        local = ["auth = pubkey", "certs = customer.pem"]
        remote = ["auth = pubkey", f"certs = {ends.name}.pem"]
        local += [f"id = {quoted(ends.connection.identity)}"] if ends.connection.identity else []
    else:
        local = ["auth = psk", f"id = {quoted(ends.identity)}"]
        remote = ["auth = psk", f"id = {ends.tunnel.address}"]
    return [
        line
        for side, inner in (("local", local), ("remote", remote))
        for line in (f"    {side} {{", *(f"      {each}" for each in inner), "    }")
    ]


def _secret(ends: Ends, keys: Keys) -> list[str]:
    return [
        f"  ike-{ends.name} {{",
        f"    id-1 = {quoted(ends.identity)}",
        f"    id-2 = {ends.tunnel.address}",
        f"    secret = {quoted(keys.get(ends.number) or placeholder(ends.number))}",
        "  }",
    ]


def _dpd_delay(timeout: int) -> int:
    """Return the idle time in seconds after which DPD probes the peer."""
    return max(timeout // DPD_RETRIES, 1)
