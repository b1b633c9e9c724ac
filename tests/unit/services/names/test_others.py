"""The servers that a host asks, and the answers that it accepts: a real server on the loopback, which also lies."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.answers import PAYLOAD
from netorch.services.names.book import parse_name
from netorch.services.names.labels import labels_of
from netorch.services.names.others import Others
from netorch.services.names.upstream import FAILED, RECORDS, ask

NAME = parse_name("www.example.net")
Answers = Callable[[dns.message.Message], list[dns.message.Message]]


@contextmanager
def server(by_udp: Answers, by_tcp: Answers | None = None) -> Iterator[int]:
    """Answer on a port of the loopback, with several messages if requested."""
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))

    def datagrams() -> None:
        while True:
            raw, asker = udp.recvfrom(4096)
            if not raw:
                return
            for answer in by_udp(dns.message.from_wire(raw)):
                udp.sendto(answer.to_wire(), asker)

    def connections() -> None:
        connection, _ = tcp.accept()
        with connection:
            raw = connection.recv(4096)
            if raw and by_tcp is not None:
                answer = by_tcp(dns.message.from_wire(raw[2:]))[0].to_wire(max_size=65_535)
                with suppress(ConnectionError):  # a client that refuses a large answer does not read it
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)

    threads = [threading.Thread(target=run, daemon=True) for run in (datagrams, connections)]
    for thread in threads:
        thread.start()
    try:
        yield port
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        with socket.socket() as last_connection:
            last_connection.connect_ex(("127.0.0.1", port))
        for thread in threads:
            thread.join(5)
        udp.close()
        tcp.close()


def answer(query: dns.message.Message, *records: str) -> dns.message.Message:
    found = dns.message.make_response(query)
    for record in records:
        owner, rdtype, value = record.split(" ")
        found.answer.append(dns.rrset.from_text(owner, 60, "IN", rdtype, value))
    return found


def said(port: int, may_read: Callable[[int], bool] = lambda _: True) -> list[str]:
    reply = asyncio.run(ask(["127.0.0.1"], NAME, RdataType.A, may_read, port))
    return [Rcode(reply.rcode).name, *(item.to_text() for rrset in reply.answer for item in rrset)]


RIGHT = "www.example.net. A 198.51.100.7"


def test_aliases_are_followed_and_what_nobody_asked_for_is_left_out() -> None:
    records = ("www.example.net. CNAME w3.example.net.", "w3.example.net. A 198.51.100.7", "bank.example. A 203.0.113.66")
    with server(lambda query: [answer(query, *records)]) as port:
        assert said(port) == ["NOERROR", "w3.example.net.", "198.51.100.7"]


def test_forged_answers_are_passed_over() -> None:
    def lies(query: dns.message.Message) -> list[dns.message.Message]:
        other_id = answer(query, "www.example.net. A 203.0.113.66")
        other_id.id = query.id ^ 1
        other_question = answer(dns.message.make_query("bank.example", "A", id=query.id), "bank.example. A 203.0.113.66")
        return [other_id, other_question, answer(query, RIGHT)]

    with server(lies) as port:
        assert said(port) == ["NOERROR", "198.51.100.7"]


def test_a_cut_answer_is_asked_for_again_by_a_connection() -> None:
    def cut(query: dns.message.Message) -> list[dns.message.Message]:
        found = answer(query)
        found.flags |= dns.flags.TC
        return [found]

    with server(cut, lambda query: [answer(query, RIGHT)]) as port:
        assert said(port) == ["NOERROR", "198.51.100.7"]


@pytest.mark.parametrize("records", [["x" * 250] * 80, ["x"] * (RECORDS + 1)], ids=["large", "many"])
def test_an_answer_that_is_too_large_is_none(records: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(query: dns.message.Message) -> list[dns.message.Message]:
        found = answer(query)
        found.flags |= dns.flags.TC
        return [found]

    def large(query: dns.message.Message) -> list[dns.message.Message]:
        found = answer(query)
        found.answer.append(
            dns.rrset.from_text_list(NAME, 60, "IN", "TXT", [f'"{n}{record}"' for n, record in enumerate(records)])
        )
        return [found]

    read: list[int] = []
    from_wire = dns.message.from_wire

    def count(raw: bytes) -> dns.message.Message:
        read.append(len(raw))
        return from_wire(raw)

    monkeypatch.setattr("netorch.services.names.upstream.dns.message.from_wire", count)
    with server(cut, large) as port:
        assert said(port) == ["SERVFAIL"]
    assert not [size for size in read if size > PAYLOAD]


def test_an_answer_is_read_only_if_its_vpc_has_not_had_too_many_records() -> None:
    counted: list[int] = []

    def refuse(records: int) -> bool:
        counted.append(records)
        return False

    with server(lambda query: [answer(query, RIGHT, "www.example.net. TXT x")]) as port:
        assert said(port, refuse) == ["SERVFAIL"]
    assert counted == [3]  # including the one of EDNS


def test_who_fails_or_is_not_there_is_no_answer() -> None:
    def fails(query: dns.message.Message) -> list[dns.message.Message]:
        found = answer(query)
        found.set_rcode(Rcode.REFUSED)
        return [found]

    with server(fails) as port:
        assert said(port) == ["SERVFAIL"]
    assert asyncio.run(ask([], NAME, RdataType.A, lambda _: True)) is FAILED


def test_files_of_the_host_say_whom_to_ask(tmp_path: Path) -> None:
    resolv_conf, forward = tmp_path / "resolv.conf", tmp_path / "forward"
    others = Others(resolv_conf, forward, tmp_path / "resolved")
    assert others.changed() == {}
    assert others.changed() is None
    resolv_conf.write_text("search example\nnameserver 192.0.2.53 # first\nnameserver nobody\nnameserver 2001:db8::53\n")
    forward.write_text("# ours\nCorp.example. 192.0.2.1 192.0.2.2\nincomplete.example\n")
    asked = {labels_of(""): ("192.0.2.53", "2001:db8::53"), labels_of("corp.example"): ("192.0.2.1", "192.0.2.2")}
    assert others.changed() == asked
    assert others.changed() is None
    forward.unlink()
    assert others.changed() == {labels_of(""): ("192.0.2.53", "2001:db8::53")}


def test_a_server_on_the_host_itself_is_asked_only_if_a_line_says_so(tmp_path: Path) -> None:
    resolv_conf, forward = tmp_path / "resolv.conf", tmp_path / "forward"
    local = ("127.0.0.53", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1")
    resolv_conf.write_text("".join(f"nameserver {address}\n" for address in local))
    assert Others(resolv_conf, forward, tmp_path / "resolved").changed() == {}
    forward.write_text(". 127.0.0.1\n")
    assert Others(resolv_conf, forward, tmp_path / "resolved").changed() == {labels_of(""): ("127.0.0.1",)}


def test_the_servers_of_systemd_resolved_are_asked_where_it_is_all_that_resolv_conf_names(tmp_path: Path) -> None:
    resolv_conf, resolved = tmp_path / "resolv.conf", tmp_path / "resolved"
    resolv_conf.write_text("nameserver 127.0.0.53\n")
    resolved.write_text("nameserver 127.0.0.1\nnameserver 192.0.2.53\n")
    others = Others(resolv_conf, tmp_path / "forward", resolved)
    assert others.changed() == {labels_of(""): ("192.0.2.53",)}
    assert others.changed() is None
    resolved.write_text("nameserver 192.0.2.54\n# longer\n")
    assert others.changed() == {labels_of(""): ("192.0.2.54",)}
    resolv_conf.write_text("nameserver 127.0.0.53\nnameserver 192.0.2.99\n")
    assert others.changed() == {labels_of(""): ("192.0.2.99",)}
