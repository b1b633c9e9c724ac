"""Joining and renewing, with the real enrolment service: honest hosts, thieves of tokens, strangers, crashes."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from netorch.agent.tasks.base import Turn
from netorch.agent.tasks.renewal import Renewal, own_directory
from netorch.control.identities.enrolment import Enrolment
from netorch.control.identities.tokens import Admission
from netorch.errors import IdentityError
from netorch.identity.asking import Answer, Request, renew
from netorch.identity.authority import certificate_request, loaded, new_key, user_of, utc_now
from netorch.identity.files import read_own
from netorch.identity.token import parse_token
from netorch.records import keys
from netorch.store.access import Access
from netorch.store.base import Put
from tests.integration.identities.conftest import PATIENCE_S, Cloud, Service, until

pytestmark = pytest.mark.slow

STRANGER = "127.0.0.9"


@pytest.fixture(autouse=True)
def _forgetful(service: Service) -> None:
    """Restart the service, which has counted the failures of earlier tests."""
    service.close()
    service.start()


def changed(token: str, **values: str) -> str:
    """Return a token with other contents."""
    return msgspec.structs.replace(parse_token(token), **values).text()


def asked(host: str, token: str) -> Request:
    """Return the request of a machine with a new key."""
    return Request(op="join", host=host, secret=parse_token(token).secret, request=certificate_request(new_key()))


def test_a_token_serves_one_machine_once(cloud: Cloud, service: Service) -> None:
    token = cloud.token("hv1")
    first = cloud.join("honest", token)
    user = read_own(cloud.state("honest") / "identity").user
    assert "used already" in cloud.join("thief", token, code=1)
    assert not (cloud.state("thief") / "identity" / "own.pem").exists()
    with contextlib.closing(cloud.store(first)) as store:
        store.list(keys.host_prefix("hv1"))
    second = cloud.token("hv1")
    cloud.join("reinstalled", second)
    assert read_own(cloud.state("reinstalled") / "identity").user != user
    assert "used already" in cloud.join("honest", token, code=1)  # the earlier token is worthless, to its own machine, too


def test_wrong_tokens_are_refused_and_all_refusals_sound_alike(cloud: Cloud, service: Service) -> None:
    token = cloud.token("hv1")
    with contextlib.closing(cloud.store()) as store:
        found = store.get(keys.join_token("hv1"))
        assert found is not None
        assert parse_token(token).secret.encode() not in found.value
        said = [
            cloud.join("thief", changed(token, secret="x" * 43), code=1),
            cloud.join("thief", changed(token, host="hv2"), code=1),  # hv1's secret for hv2
            cloud.join("thief", changed(token, host="nobody"), code=1),
        ]
        past = msgspec.structs.replace(msgspec.json.decode(found.value, type=Admission), expires=1.0)
        store.txn((), [Put(found.key, msgspec.json.encode(past))])
        said.append(cloud.join("thief", token, code=1))
        assert len(set(said)) == 1
        assert "wrong, expired, or used already" in said[0]
    assert "not the service that the token names" in cloud.join("thief", changed(token, authority="00" * 32), code=1)
    assert "not a token" in cloud.join("thief", "hello", code=1)
    assert "not a token" in cloud.join("thief", "", code=1)
    assert "InvalidHostID.NotFound" in cloud.run("host", "token", "nobody", code=1)


def test_a_certificate_names_the_token_s_host_whatever_the_request_says(cloud: Cloud, service: Service) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    token = cloud.token("hv2")
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    pem = x509.CertificateSigningRequestBuilder().subject_name(root).sign(new_key(), hashes.SHA256())
    request = msgspec.structs.replace(asked("hv2", token), request=pem.public_bytes(serialization.Encoding.PEM).decode())
    with contextlib.closing(cloud.store()) as store, contextlib.closing(cloud.secured.access()) as access:
        enrolment = Enrolment(store, access, cloud.secured.authority, "", utc_now)
        assert user_of(loaded(enrolment.answer(request, "").certificate)).startswith("host/hv2/")


def test_of_many_that_use_a_token_at_once_one_wins(cloud: Cloud) -> None:
    cloud.run("host", "create", "hv4", "--underlay", "192.0.2.14")
    token = cloud.token("hv4")
    answers: list[Answer | IdentityError] = []

    def race(request: Request) -> None:
        with contextlib.closing(cloud.store()) as store, contextlib.closing(cloud.secured.access()) as access:
            try:
                answers.append(Enrolment(store, access, cloud.secured.authority, "", utc_now).answer(request, ""))
            except IdentityError as error:
                answers.append(error)

    threads = [threading.Thread(target=race, args=(asked("hv4", token),), daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    won = [answer for answer in answers if isinstance(answer, Answer)]
    assert (len(won), len(answers)) == (1, 6)
    with contextlib.closing(cloud.secured.access()) as access:
        assert [user for user in access.users() if user.startswith("host/hv4/")] == [user_of(loaded(won[0].certificate))]


class Crash(Exception):
    """The process is killed here."""


class Crashing:
    """Access that crashes before its n-th call."""

    def __init__(self, access: Access, after: int) -> None:
        self._access, self._left = access, after

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever Access has
        found = getattr(self._access, name)

        def call(*arguments: object) -> object:
            if not self._left:
                raise Crash
            self._left -= 1
            return found(*arguments)

        return call


def test_a_crash_at_any_step_between_use_and_answer_is_repaired_by_the_same_request(cloud: Cloud) -> None:
    cloud.run("host", "create", "hv5", "--underlay", "192.0.2.15")
    token = cloud.token("hv5")
    request, thief = asked("hv5", token), asked("hv5", token)
    authority = cloud.secured.authority
    with contextlib.closing(cloud.store()) as store, contextlib.closing(cloud.secured.access()) as access:
        whole = Enrolment(store, access, authority, "etcd://x/y", utc_now)
        for step in range(40):
            crashing = Enrolment(store, cast(Access, Crashing(access, step)), authority, "etcd://x/y", utc_now)
            try:
                answer = crashing.answer(request, "")
                break
            except Crash:
                with pytest.raises(IdentityError):
                    whole.answer(thief, "")
        else:
            raise AssertionError("it never ends")
        assert step >= 5
        users = [user for user in access.users() if user.startswith("host/hv5/")]
        assert users == [user_of(loaded(answer.certificate))]
        assert user_of(loaded(whole.answer(request, "").certificate)) == users[0]

        class Revokes(Crashing):
            """The operator revokes the host in the middle of its joining."""

            def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever Access has
                if name == "add_user":
                    cloud.run("host", "revoke", "hv5")
                return super().__getattr__(name)

        with pytest.raises(IdentityError, match="revoked"):
            Enrolment(store, cast(Access, Revokes(access, 99)), authority, "", utc_now).answer(request, "")
        assert not [user for user in access.users() if user.startswith("host/hv5/")]


def test_a_killed_service_goes_on_after_a_restart_and_no_secret_is_in_sight(cloud: Cloud, service: Service) -> None:
    token = cloud.token("hv1")
    service.signal(signal.SIGKILL)
    assert "no answer" in cloud.join("waiting", token, code=1)
    service.start()
    cloud.join("waiting", token)
    cloud.join("waiting", token, code=1)  # it asks with a new key: the first request was answered
    target = cloud.secured.directory / "token"
    cloud.run("host", "token", "hv1", "--file", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    again = cloud.run("host", "join", "--token-file", str(target), "--state-dir", str(cloud.state("from-file")), url="memory:")
    assert 'host = "hv1"' in again
    secrets = [parse_token(text).secret.encode() for text in (token, target.read_text())]
    files = [path.read_bytes() for path in cloud.secured.directory.rglob("*.pem")]
    keys_of = [file.splitlines()[1] for file in files if b"PRIVATE" in file]
    with contextlib.closing(cloud.store()) as store:
        everywhere = [kv.value for kv in store.list("").kvs]
    everywhere += [service.log.read_bytes(), service.argv(), cloud.run("history", "-o", "json").encode(), again.encode()]
    assert len(keys_of) > 3
    for secret in (*secrets, *keys_of):
        assert not [place for place in everywhere if secret in place]


def test_a_host_renews_by_its_present_certificate_and_a_revoked_one_does_not(cloud: Cloud, service: Service) -> None:
    cloud.run("host", "create", "hv6", "--underlay", "192.0.2.16")
    url = cloud.join("hv6", cloud.token("hv6"))
    directory = own_directory(url)
    assert directory is not None
    first = read_own(directory)
    later = [utc_now()]
    renewal = Renewal(directory, lambda: later[0])
    now = [0.0]
    with contextlib.closing(cloud.store(url)) as store:

        def turn() -> None:
            now[0] += 3600.0
            renewal.turn(Turn(now=now[0], store=store))

        def until_turned(condition: Callable[[], object]) -> None:
            def turned() -> object:
                turn()
                return condition()

            until(turned)

        turn()
        turn()
        assert (read_own(directory), renewal.trouble) == (first, "")
        later[0] = first.renew_at
        until_turned(lambda: read_own(directory).expires > first.expires)
        assert read_own(directory).user == first.user
        with contextlib.closing(cloud.store(url)) as again:  # with the new key and certificate
            again.list(keys.host_prefix("hv6"))
        second = read_own(directory)
        later[0] = second.late_at
        service.signal(signal.SIGSTOP)
        turn()
        assert "expires" in renewal.trouble
        service.signal(signal.SIGCONT)
        until_turned(lambda: read_own(directory).expires > second.expires)
        until(lambda: "renew certificate" not in {thread.name for thread in threading.enumerate()})
        later[0] = utc_now()
        turn()
        assert renewal.trouble == ""
        third = read_own(directory)
        assert renewal.expires == third.expires.timestamp()
        cloud.run("host", "revoke", "hv6")
        with pytest.raises(IdentityError, match="revoked"):
            renew(cloud.service, directory)
        assert read_own(directory) == third


def test_strangers_hold_up_nobody(cloud: Cloud, service: Service) -> None:
    host, _, port = cloud.service.partition(":")
    unproven = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE

    def say(line: bytes) -> bytes:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, int(port)), PATIENCE_S, (STRANGER, 0)) as plain,
            unproven.wrap_socket(plain) as connection,
        ):
            connection.sendall(line)
            return connection.recv(65536)
        return b""

    assert b"not a request" in say(b"hello\n")
    assert b"authority" not in say(b'{"op":"authority","more":1}\n')
    assert say(b"x" * 100_000) == b""
    assert b"BEGIN CERTIFICATE" in say(b'{"op":"authority"}\n')
    for _ in range(10):
        say(b"{}\n")
    assert b"too many" in say(b'{"op":"authority"}\n')
    with contextlib.ExitStack() as idle:
        for _ in range(60):
            idle.enter_context(socket.create_connection((host, int(port)), PATIENCE_S, (STRANGER, 0)))
        cloud.join("among-strangers", cloud.token("hv1"))
