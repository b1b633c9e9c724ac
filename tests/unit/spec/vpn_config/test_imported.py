"""AWS's configuration file for a VPN connection: read with AWS's meaning, or refused with the place of each error."""

from __future__ import annotations

import re

import msgspec
import pytest

from netorch.errors import SpecError
from netorch.model.outside.vpn import DpdAction, StartupAction, TunnelOptions
from netorch.spec.vpn_config.facts import facts_of
from netorch.spec.vpn_config.formats import FORMATS
from netorch.spec.vpn_config.imported import ImportedConnection, ImportedTunnel, read_gateway_configuration
from netorch.spec.vpn_config.xml_tree import MAX_BYTES
from tests.golden.vpn_config.test_vpn_config import BGP, CIDRS, GATEWAY, KEYS, STATIC

FILE = "aws.xml"


def side(outside: str, inside: str, asn: int) -> str:
    return f"""
    <tunnel_outside_address><ip_address>{outside}</ip_address></tunnel_outside_address>
    <tunnel_inside_address>
      <ip_address>{inside}</ip_address><network_mask>255.255.255.252</network_mask><network_cidr>30</network_cidr>
    </tunnel_inside_address>
    <bgp><asn>{asn}</asn><hold_time>30</hold_time></bgp>"""


def tunnel(number: int) -> str:
    """Return a tunnel with AWS's default values."""
    return f"""
  <ipsec_tunnel>
    <customer_gateway>{side("203.0.113.80", f"169.254.80.{16 * number + 2}", 65000)}
    </customer_gateway>
    <vpn_gateway>{side(f"198.18.9.{number}", f"169.254.80.{16 * number + 1}", 64512)}
    </vpn_gateway>
    <ike>
      <authentication_protocol>sha1</authentication_protocol>
      <encryption_protocol>aes-128-cbc</encryption_protocol>
      <lifetime>28800</lifetime>
      <perfect_forward_secrecy>group2</perfect_forward_secrecy>
      <mode>main</mode>
      <pre_shared_key>key_of.tunnel.{number}</pre_shared_key>
    </ike>
    <ipsec>
      <protocol>esp</protocol>
      <authentication_protocol>hmac-sha1-96</authentication_protocol>
      <encryption_protocol>aes-128-cbc</encryption_protocol>
      <lifetime>3600</lifetime>
      <perfect_forward_secrecy>group2</perfect_forward_secrecy>
      <mode>tunnel</mode>
      <clear_df_bit>true</clear_df_bit>
      <fragmentation_before_encryption>true</fragmentation_before_encryption>
      <tcp_mss_adjustment>1379</tcp_mss_adjustment>
      <dead_peer_detection><interval>10</interval><retries>3</retries></dead_peer_detection>
    </ipsec>
  </ipsec_tunnel>"""


TEXT = f"""<?xml version="1.0" encoding="UTF-8"?>
<vpn_connection id="vpn-0f72da61c0f80742a">
  <customer_gateway_id>cgw-0092e99221c25d208</customer_gateway_id>
  <vpn_gateway_id>vgw-095d6806b3d71eb6b</vpn_gateway_id>
  <vpn_connection_type>ipsec.1</vpn_connection_type>{tunnel(1)}{tunnel(2)}
</vpn_connection>
"""
ROUTED = TEXT.replace(
    "<vpn_gateway_id>vgw-095d6806b3d71eb6b</vpn_gateway_id>", "<transit_gateway_id>tgw-0123abcd</transit_gateway_id>"
)
OPTIONS = TunnelOptions(
    phase1_encryption=("AES128",),
    phase1_integrity=("SHA1",),
    phase1_dh_groups=(2,),
    phase2_encryption=("AES128",),
    phase2_integrity=("SHA1",),
    phase2_dh_groups=(2,),
    dpd_action=DpdAction.RESTART,
    startup_action=StartupAction.START,
)


def refusal(text: str | bytes) -> str:
    """Return the error text for a refused file."""
    with pytest.raises(SpecError) as caught:
        read_gateway_configuration(FILE, text.encode() if isinstance(text, str) else text)
    assert "key_of.tunnel" not in str(caught.value)
    return str(caught.value)


def without_bgp(text: str) -> str:
    text = re.sub(r"<bgp>.*?</bgp>", "", text)
    attributes = "<vpn_connection_attributes>NoBGPVPNConnection</vpn_connection_attributes>"
    return text.replace("</vpn_connection_type>", f"</vpn_connection_type>{attributes}")


def test_it_says_what_both_ends_are() -> None:
    connection, keys = read_gateway_configuration(FILE, TEXT.encode())
    assert connection == ImportedConnection(
        id="vpn-0f72da61c0f80742a",
        customer_gateway="cgw-0092e99221c25d208",
        gateway="vgw-095d6806b3d71eb6b",
        address="203.0.113.80",
        asn=65000,
        amazon_asn=64512,
        tunnels=(
            ImportedTunnel(address="198.18.9.1", inside_cidr="169.254.80.16/30", options=OPTIONS),
            ImportedTunnel(address="198.18.9.2", inside_cidr="169.254.80.32/30", options=OPTIONS),
        ),
    )
    assert keys == {1: "key_of.tunnel.1", 2: "key_of.tunnel.2"}
    assert "key_of" not in repr(connection)


def test_a_transit_gateway_is_as_good() -> None:
    assert read_gateway_configuration(FILE, ROUTED.encode())[0].gateway == "tgw-0123abcd"


def test_without_bgp_there_are_no_numbers() -> None:
    connection, _ = read_gateway_configuration(FILE, without_bgp(TEXT).encode())
    assert (connection.static, connection.asn, connection.amazon_asn) == (True, 0, 0)


def test_what_nobody_knows_is_skipped() -> None:
    more = TEXT.replace("</vpn_connection_type>", "</vpn_connection_type><new><thing at='all'>1</thing></new><!-- and this -->")
    assert read_gateway_configuration(FILE, more.encode()) == read_gateway_configuration(FILE, TEXT.encode())


def test_what_netorch_writes_for_its_customers_can_be_read() -> None:
    text = FORMATS["aws-xml"](facts_of(BGP, GATEWAY, CIDRS), KEYS)
    connection, keys = read_gateway_configuration(FILE, text.encode())
    assert keys == KEYS
    assert (connection.address, connection.asn, connection.amazon_asn) == (BGP.address, BGP.asn, GATEWAY.asn)
    assert [(one.address, one.inside_cidr) for one in connection.tunnels] == [(t.address, t.inside_cidr) for t in BGP.tunnels]


def test_a_placeholder_is_no_key() -> None:
    two = msgspec.structs.replace(BGP, static=True)
    assert "/ipsec_tunnel[2]/ike/pre_shared_key: a text of " in refusal(
        FORMATS["aws-xml"](facts_of(two, GATEWAY, CIDRS), {1: KEYS[1]})
    )


def test_one_tunnel_is_not_enough() -> None:
    keys = {1: KEYS[1]}
    text = FORMATS["aws-xml"](facts_of(msgspec.structs.replace(STATIC, address="203.0.113.80"), GATEWAY, CIDRS), keys)
    assert "/vpn_connection: there are 1 elements ipsec_tunnel; a connection has 2" in refusal(text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'id="vpn-0f72da61c0f80742a"',
            'id="vpn-1"',
            "aws.xml:2: /vpn_connection: 'vpn-1' is not an AWS id that begins with vpn-",
        ),
        ("<customer_gateway_id>cgw-0", "<customer_gateway_id>vgw-0", "/vpn_connection/customer_gateway_id: 'vgw-0"),
        ("ipsec.1", "ipsec.2", "/vpn_connection/vpn_connection_type: 'ipsec.2' is not known; write one of ipsec.1"),
        (">198.18.9.2<", ">there<", "/ipsec_tunnel[2]/vpn_gateway/tunnel_outside_address/ip_address: 'there' is not an address"),
        (
            ">203.0.113.80<",
            ">203.0.113.8<",
            "/ipsec_tunnel[2]: the customer's address or an AS number differs from the first",
        ),
        ("<asn>64512</asn>", "<asn>65000</asn>", "both ends have the AS number 65000"),
        ("<asn>64512</asn>", "<asn>many</asn>", "/vpn_gateway/bgp/asn: 'many' is not a number from 1 to 4294967294"),
        ("<asn>64512</asn>", "", "/vpn_gateway/bgp: there is no element asn"),
        (
            ">169.254.80.33<",
            ">169.254.80.37<",
            "/ipsec_tunnel[2]: the inside addresses are 169.254.80.37 at AWS and 169.254.80.34 here",
        ),
        (">169.254.80.33<", ">0.0.0.0<", "/ipsec_tunnel[2]: the inside addresses are 0.0.0.0 at AWS"),
        ("<network_cidr>30<", "<network_cidr>29<", "/network_cidr: '29' is not known; write one of 30"),
        (
            ">sha1<",
            ">md5<",
            "/ipsec_tunnel/ike/authentication_protocol: 'md5' is not known; write one of sha2-256, sha2-384, sha2-512, sha1",
        ),
        (">hmac-sha1-96<", ">hmac-md5-96<", "/ipsec/authentication_protocol: 'hmac-md5-96' is not known"),
        (">aes-128-cbc<", ">3des<", "/ike/encryption_protocol: '3des' is not known"),
        (">group2<", ">group1<", "/perfect_forward_secrecy: 'group1' is not known"),
        (">main<", ">aggressive<", "/ike/mode: 'aggressive' is not known; write one of main"),
        (">28800<", ">86400<", "/ike/lifetime: '86400' is not a number from 900 to 28800"),
        (">28800<", ">900<", "phase2_lifetime: 3600 is out of range"),
        (">3600<", ">036<", "/ipsec/lifetime: '036' is not a number"),
        ("key_of.tunnel.1", "short", "/ipsec_tunnel/ike/pre_shared_key: a text of 5 characters is not a pre-shared key"),
        ("key_of.tunnel.1", "<b>key_of.tunnel.1</b>", "/ike/pre_shared_key: a text of 0 characters is not a pre-shared key"),
        ("<mode>main</mode>", "<mode>main</mode><mode>main</mode>", "/ike: there are 2 elements mode"),
        ("<ike>", "<ikf>", "this is not XML: mismatched tag"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(old: str, new: str, said: str) -> None:
    assert old in TEXT
    assert said in refusal(
        TEXT.replace(old, new) if old != ">203.0.113.80<" else TEXT[::-1].replace(old[::-1], new[::-1], 1)[::-1]
    )


def test_all_is_told_at_once() -> None:
    text = TEXT.replace(">sha1<", ">md5<").replace("<lifetime>3600<", "<lifetime>1<")
    assert refusal(text).count("\n") == 3  # two errors in each of two tunnels


def test_another_document_is_told_by_its_name() -> None:
    assert refusal("<html><body/></html>") == ("aws.xml:1: /html: the file begins with 'html'; it must begin with vpn_connection")


LAUGHS = '<!DOCTYPE lol [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><vpn_connection id="&b;"/>'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (LAUGHS.encode(), "aws.xml:1: /: the file has a document type, which may define entities"),
        (b'<!DOCTYPE v SYSTEM "file:///etc/passwd"><v/>', "has a document type"),
        (b"<v>&undefined;</v>", "aws.xml:1: /v: this is not XML: undefined entity"),
        (b"", "this is not XML: no element found"),
        (b"   ", "this is not XML: no element found"),
        (b"<v/><v/>", "this is not XML: junk after document element"),
        (b"<v>\x00</v>", "this is not XML: not well-formed (invalid token)"),
        (b"<v>\xff</v>", "/: byte 3 is not UTF-8"),
        (TEXT.encode("utf-16"), "is not UTF-8"),
        (b"<v>" * 17 + b"</v>" * 17, "nested deeper than 16"),
        (b"<v>" + b"<w/>" * 3000 + b"</v>", "there are more than 2000 elements"),
        (b"<v>" + b" " * MAX_BYTES + b"</v>", "the file is larger than 64 KiB"),
    ],
)
def test_hostile_files_are_refused(data: bytes, said: str) -> None:
    assert said in refusal(data)


def test_a_declaration_of_another_encoding_changes_nothing() -> None:
    text = TEXT.replace("UTF-8", "ISO-8859-1")
    assert read_gateway_configuration(FILE, text.encode()) == read_gateway_configuration(FILE, TEXT.encode())
