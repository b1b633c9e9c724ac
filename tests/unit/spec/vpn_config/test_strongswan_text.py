"""AWS's text for strongSwan: the connection's values are found among the instructions."""

from __future__ import annotations

import pytest

from netorch.errors import SpecError
from netorch.model.outside.vpn import DpdAction, StartupAction, TunnelOptions
from netorch.spec.vpn_config.imported import ImportedConnection, ImportedTunnel
from netorch.spec.vpn_config.strongswan_text import read_configuration
from tests.unit.spec.vpn_config.test_imported import TEXT as XML

FILE = "vpn.txt"


def tunnel(number: int) -> str:
    return f"""
IPSEC Tunnel #{number}
3) Append to /etc/ipsec.conf:

conn Tunnel{number}
\tauto=start
\tleft=%defaultroute
\tleftid=203.0.113.80
\tright=198.18.9.{number}
\ttype=tunnel
\tleftauth=psk
\trightauth=psk
\tkeyexchange=ikev1
\tike=aes128-sha1-modp1024
\tikelifetime=8h
\tesp=aes256-sha256-modp2048
\tlifetime=1h
\tkeyingtries=%forever
\tleftsubnet=0.0.0.0/0
\trightsubnet=0.0.0.0/0
\tdpddelay=10s
\tdpdtimeout=30s
\tdpdaction=restart
\t## a comment with another=value
\tmark={number}00
\t#leftupdown="/etc/ipsec.d/aws-updown.sh -ln Tunnel{number} -r <VPC CIDR>"
\t\t
4) Append to /etc/ipsec.secrets:
203.0.113.80 198.18.9.{number} : PSK "key_of.tunnel.{number}"

sudo ip link add Tunnel{number} type vti local <LOCAL IP> remote 198.18.9.{number} key {number}00
sudo ip addr add 169.254.80.{16 * number + 2}/30 remote 169.254.80.{16 * number + 1}/30 dev Tunnel{number}
"""


TEXT = f"""Amazon Web Services
Your VPN Connection ID                  : vpn-0f72da61c0f80742a
Your Virtual Private Gateway ID         : vgw-095d6806b3d71eb6b
Your Customer Gateway ID                : cgw-0092e99221c25d208
{tunnel(1)}{tunnel(2)}
"""
OPTIONS = TunnelOptions(
    ike_versions=("ikev1",),
    phase1_encryption=("AES128",),
    phase1_integrity=("SHA1",),
    phase1_dh_groups=(2,),
    phase2_encryption=("AES256",),
    phase2_integrity=("SHA2-256",),
    phase2_dh_groups=(14,),
    dpd_action=DpdAction.RESTART,
    startup_action=StartupAction.START,
)


def test_it_says_what_both_ends_are() -> None:
    connection, keys = read_configuration(FILE, TEXT.encode())
    assert connection == ImportedConnection(
        id="vpn-0f72da61c0f80742a",
        customer_gateway="cgw-0092e99221c25d208",
        gateway="vgw-095d6806b3d71eb6b",
        address="203.0.113.80",
        static=True,
        tunnels=(
            ImportedTunnel(address="198.18.9.1", inside_cidr="169.254.80.16/30", options=OPTIONS),
            ImportedTunnel(address="198.18.9.2", inside_cidr="169.254.80.32/30", options=OPTIONS),
        ),
    )
    assert keys == {1: "key_of.tunnel.1", 2: "key_of.tunnel.2"}


def test_lines_of_windows_are_as_good() -> None:
    assert read_configuration(FILE, TEXT.replace("\n", "\r\n").encode()) == read_configuration(FILE, TEXT.encode())


def test_xml_is_known_by_its_first_character() -> None:
    assert read_configuration(FILE, f"\n{XML.partition('?>')[2]}".encode())[0].asn == 65000


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("right=198.18.9.2", "right=there", "conn Tunnel2: right=there: 'there' is not an address"),
        (
            "leftid=203.0.113.80\n\tright=198.18.9.2",
            "leftid=203.0.113.8\n\tright=198.18.9.2",
            "conn Tunnel2: leftid: it differs from the first tunnel's",
        ),
        ("\tlifetime=1h", "", "conn Tunnel1: it has no lifetime"),
        ("lifetime=1h", "lifetime=soon", "conn Tunnel1: lifetime=soon: it is not a time; write e.g. 8h, or 30s"),
        ("lifetime=1h", "lifetime=2h", "conn Tunnel1: phase2_lifetime: 7200 is out of range"),
        (
            "ike=aes128-sha1-modp1024",
            "ike=3des-sha1-modp1024",
            "conn Tunnel1: ike=3des-sha1-modp1024: it is not a proposal of AWS",
        ),
        ("keyexchange=ikev1", "keyexchange=ikev3", "conn Tunnel1: keyexchange=ikev3: it is not known"),
        (
            "key_of.tunnel.1",
            "short",
            "ipsec.secrets: 203.0.113.80 198.18.9.1: a text of 5 characters is not a pre-shared key",
        ),
        (' : PSK "key_of.tunnel.2"', "", "ipsec.secrets: 203.0.113.80 198.18.9.2: there is no key for these two addresses"),
        ("169.254.80.34/30 remote", "169.254.80.35/30 remote", "Tunnel2: the inside addresses are '169.254.80.33' at AWS"),
        ("ip addr add", "ip address add", "Tunnel1: no command sets its inside addresses"),
        ("conn Tunnel2", "conn Other", "conn Tunnel2: it has no leftid, right,"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(SpecError) as caught:
        read_configuration(FILE, TEXT.replace(old, new).encode())
    assert said in str(caught.value)
    assert "key_of" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"a" * (64 << 10) + b"a", "conn Tunnel1\n".encode("utf-16")])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(SpecError):
        read_configuration(FILE, data)
