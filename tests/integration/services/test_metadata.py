"""Metadata with agents: each of two VPCs with the same address gets its own data, and a token goes only one hop."""

from __future__ import annotations

import base64
import http.client
import os
import socket

import pytest

from netorch.control.actions.instances import RunRequest, run_instance
from netorch.control.actions.services.metadata import modify_metadata_options
from netorch.drivers import netns
from tests.rig.packets import ethernet, ip_packet, send_frame
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

ADDRESS = "169.254.169.254"
TTL = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}


def ask(namespace: str, path: str, method: str = "GET", source: str = "", **headers: str) -> tuple[int, str]:
    """Return the status and the body of an answer. Raises OSError if there is none."""
    fd = netns.find(namespace)
    with netns.inside(fd):
        sock = socket.socket()
    os.close(fd)
    sock.settimeout(5)
    with sock:
        sock.bind((source, 0))
        sock.connect((ADDRESS, 80))
        connection = http.client.HTTPConnection(ADDRESS)
        connection.sock = sock
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode()


def token(namespace: str, **headers: str) -> str:
    status, body = ask(namespace, "/latest/api/token", "PUT", **{**TTL, **headers})
    assert status == 200
    return body


def told(namespace: str, path: str) -> str:
    status, body = ask(namespace, f"/latest/{path}", **{"X-aws-ec2-metadata-token": token(namespace)})
    assert status == 200, path
    return body


def test_two_vpcs_with_one_address_are_told_of_themselves_only(served: World) -> None:
    twin = served.instance("other/twin").id
    for name, namespace in (("acme/box", "container"), ("other/twin", twin)):
        assert told(namespace, "meta-data/instance-id") == served.instance(name).id
        assert told(namespace, "meta-data/mac") == served.eni(name).mac
        assert told(namespace, "meta-data/local-ipv4") == "10.44.12.4"
    assert told("container", "meta-data/local-hostname") == "ip-10-44-12-4.corp.example"
    path = "/latest/meta-data/mac"
    assert ask("container", path)[0] == 401
    assert ask("container", path, **{"X-aws-ec2-metadata-token": token(twin)})[0] == 401
    assert ask("container", "/latest/api/token", "PUT", **{**TTL, "X-Forwarded-For": "10.44.12.6"})[0] == 403


def test_user_data_and_options_reach_their_instance(served: World) -> None:
    vpc = served.vpc("other").vpc.record
    script = base64.b64encode(b"#!/bin/sh\necho hello\n").decode()
    placed = run_instance(
        served.store, served.caller, RunRequest(name="booted", vpc=vpc.id, host="hv1", user_data=script, tags={"env": "prod"})
    )
    served.wait_attached()
    namespace = placed.instance.id
    wait_for(lambda: told(namespace, "user-data") == "#!/bin/sh\necho hello\n", "the user data")
    modify_metadata_options(served.store, served.caller, namespace, {"http_tokens": False, "instance_metadata_tags": True})
    wait_for(lambda: ask(namespace, "/latest/meta-data/tags/instance/env") == (200, "prod"), "the tags, without a token")
    modify_metadata_options(served.store, served.caller, namespace, {"http_endpoint": False})
    wait_for(lambda: ask(namespace, "/latest/meta-data/mac")[0] == 403, "nothing to be told")


def test_the_answer_with_a_token_goes_one_hop_and_others_go_on(served: World) -> None:
    """A container behind a router inside the instance must not get a token."""
    ttls = {"PUT": set[int](), "GET": set[int]()}
    inside = "container"
    for method, path in (("PUT", "/latest/api/token"), ("GET", "/latest/meta-data/mac")):
        fd = netns.find(inside)
        with netns.inside(fd), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as ear:
            ear.bind(("eth0", 0x0800))
            ear.settimeout(0.5)
            ask(inside, path, method, **TTL)
            while True:
                try:
                    frame = ear.recv(2048)
                except TimeoutError:
                    break
                if frame[26:30] == socket.inet_aton(ADDRESS) and b"HTTP/1.1" in frame:
                    ttls[method].add(frame[22])
        os.close(fd)
    assert ttls == {"PUT": {1}, "GET": {64}}


def test_nobody_asks_in_the_name_of_another(served: World) -> None:
    """A SYN with a forged source does not get in, and other ports of the address are closed."""
    rogue, box, before = served.eni("acme/rogue"), served.eni("acme/box"), served.counters("hv1")
    inside = served.instance("acme/rogue").id
    syn = (40000).to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + b"\x50\x02\xff\xff" + bytes(4)
    frame = ethernet("02:4e:54:ff:ff:01", rogue.mac, 0x0800, ip_packet(box.address, ADDRESS, 6, syn))
    send_frame(inside, "eth0", frame)
    wait_for(lambda: served.counters("hv1")["spoofed"] > before["spoofed"], "the forgery to be counted")
    fd = netns.find(inside)
    with netns.inside(fd), socket.socket() as sock:
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.connect((ADDRESS, 22))
    os.close(fd)


def test_a_flood_of_connections_keeps_nobody_else_out(served: World) -> None:
    idle = []
    fd = netns.find(served.instance("acme/rogue").id)
    with netns.inside(fd):
        for _ in range(200):
            sock = socket.socket()
            sock.settimeout(0.2)
            try:
                sock.connect((ADDRESS, 80))
            except OSError:
                sock.close()
            else:
                idle.append(sock)
    os.close(fd)
    assert told("container", "meta-data/local-ipv4") == "10.44.12.4"
    for sock in idle:
        sock.close()
