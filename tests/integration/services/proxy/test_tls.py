"""TLS through the proxy: end to end, permitted if everything is, with the endpoint's id for the upstream server."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.services.proxy.stand import ENDPOINTS, VPCS, ProxyStand, document, everything
from tests.rig.services.process import LOOPBACK, ServiceProcess
from tests.rig.services.s3 import HOSTS

NAME = HOSTS[0]
ARN = "arn:aws:s3:::"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def certificate(directory: Path) -> Path:
    """Return a file with a key and a self-signed certificate for the service and its buckets."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME), x509.DNSName(f"*.{NAME}")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    raw = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "server.pem"
    path.write_bytes(raw + made.public_bytes(serialization.Encoding.PEM))
    return path


class Server:
    """A TLS server that reads the PROXY header first, and echoes what it receives."""

    def __init__(self, pem: Path) -> None:
        self.told: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._listening = socket.create_server((LOOPBACK, 0))
        self.address = f"{LOOPBACK}:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = connection.recv(16, socket.MSG_WAITALL)
            self.told.append(head + connection.recv(int.from_bytes(head[14:16]), socket.MSG_WAITALL))
            with self._context.wrap_socket(connection, server_side=True) as inside:
                while more := inside.recv(1 << 16):
                    inside.sendall(more)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(pem: Path) -> Iterator[Server]:
    server = Server(pem)
    yield server
    server.close()


@pytest.fixture
def tls(daemon: ServiceProcess, server: Server) -> Iterator[ProxyStand]:
    stand = ProxyStand(daemon, "http://127.0.0.1:1", server.address)
    stand.serve()
    yield stand
    for bucket in ("xxx", "yyy"):
        stand.bucket(bucket, "")


def echoed(stand: ProxyStand, pem: Path, host: str, letter: str = "a", data: bytes = b"hello") -> bytes:
    """Return the echo through TLS with a host name, or nothing if the connection was refused."""
    context = ssl.create_default_context(cafile=str(pem))
    try:
        with stand.connect(letter, tls=True) as plain, context.wrap_socket(plain, server_hostname=host) as inside:
            threading.Thread(target=inside.sendall, args=(data,), daemon=True).start()
            got = b""
            while len(got) < len(data):
                got += inside.recv(1 << 16)
            return got
    except ConnectionError:
        return b""


def test_what_is_said_arrives_whole_and_the_server_is_told_by_which_endpoint(tls: ProxyStand, server: Server, pem: Path) -> None:
    data = bytes(range(256)) * 8192
    for letter in "ab":
        assert echoed(tls, pem, NAME, letter, data) == data
        assert server.told[-1].endswith(b"\xea\x00\x17\x01" + ENDPOINTS[letter].encode())
        assert tls.line(letter, "TLS", 200).host == NAME


def test_only_names_of_the_service_are_passed_on(tls: ProxyStand, server: Server, pem: Path) -> None:
    for host in ("example.com", f"evil{NAME}", LOOPBACK):
        assert echoed(tls, pem, host) == b""
    for raw in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"):
        with tls.connect(tls=True) as connection:
            connection.sendall(raw)
            assert everything(connection) == b""
    assert server.told == []


def test_names_are_passed_on_if_everything_with_all_buckets_is_permitted(tls: ProxyStand, pem: Path) -> None:
    def passed_on(letter: str = "a") -> list[bool]:
        return [bool(echoed(tls, pem, host, letter)) for host in (NAME, f"xxx.{NAME}", f"yyy.{NAME}")]

    tls.serve(a=document(ALL))
    assert passed_on() == [True, True, True]
    tls.serve(a=document({**ALL, "Resource": [f"{ARN}xxx", f"{ARN}xxx/*"]}))
    assert passed_on() == [False, False, False]
    tls.serve()
    only_b = {"Condition": {"StringNotEquals": {"aws:sourceVpc": VPCS["b"]}}}
    tls.bucket("yyy", document({"Effect": "Deny", "Action": "s3:GetObject", "Resource": f"{ARN}yyy/*", **only_b}))
    assert passed_on() == [False, False, False]
    assert passed_on("b") == [True, True, True]
    assert "bucket yyy" in tls.line("a", "TLS", 403).reason


def test_a_service_without_tls_takes_none(tls: ProxyStand, daemon: ServiceProcess, pem: Path) -> None:
    ProxyStand(daemon, "http://127.0.0.1:1").serve()
    assert echoed(tls, pem, NAME) == b""
