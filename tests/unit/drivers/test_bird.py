"""bird's configuration file, its control socket and the password, without bird."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from netorch.drivers.bird.border import Border
from netorch.drivers.bird.config import config_of, read, write
from netorch.drivers.bird.control import BirdError, Control
from netorch.drivers.bird.password import read_password
from netorch.state.daemons.bgp import Announcement, BgpPeer

PEER = BgpPeer(local="198.18.0.21", local_asn=64601, remote="198.18.0.254", remote_asn=64512)
POOL = Announcement(prefix="198.51.100.0/24")
SECRET = "tiger"
PASSWORDS = {Border.protocols_of(PEER)[0]: SECRET}


# --- the file ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [SECRET, "with ; } // # spaces"])
def test_a_file_is_read_as_it_was_written(password: str) -> None:
    config = config_of(Border, [POOL, PEER])
    passwords = dict.fromkeys(PASSWORDS, password)
    assert read(Border, write(config, passwords)) == (config, passwords)
    assert read(Border, write(config, {})) == (config, {})


def test_each_session_has_its_own_password() -> None:
    other = BgpPeer(local=PEER.local, local_asn=64601, remote="198.18.0.253", remote_asn=64512)
    config = config_of(Border, [PEER, other])
    for passwords in (PASSWORDS, {Border.protocols_of(other)[0]: "lion"}, PASSWORDS | {Border.protocols_of(other)[0]: "lion"}):
        assert read(Border, write(config, passwords)) == (config, passwords)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("198.51.100.0/24 unreachable", "0.0.0.0/0 unreachable"),
        ("import none", "import all"),
        ("# netorch", "# somebody"),
        ("}\n", ""),
    ],
)
def test_a_file_that_somebody_has_edited_is_none_of_ours(old: str, new: str) -> None:
    text = write(config_of(Border, [POOL, PEER]), PASSWORDS)
    assert old in text
    assert read(Border, text.replace(old, new)) is None


def test_nothing_is_taken_from_the_router_nor_given_to_linux() -> None:
    text = write(config_of(Border, [POOL, PEER]), {})
    assert "import none" in text
    assert "import all" not in text
    assert "protocol kernel" not in text


def test_two_files_of_one_content_have_two_names() -> None:
    assert config_of(Border, [POOL]).name != config_of(Border, [POOL]).name


def test_no_object_shows_the_password() -> None:
    found = read(Border, write(config_of(Border, [POOL, PEER]), PASSWORDS))
    assert found is not None
    assert all(SECRET not in f"{obj} {obj.text()} {obj.key}" for obj in found[0].objects)


# --- the password ------------------------------------------------------------------------------------------------------------


def test_without_a_file_there_is_no_password(tmp_path: Path) -> None:
    assert read_password(tmp_path / "none") == ""


def test_a_password_is_the_file_s_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(f"{SECRET}\n")
    assert read_password(file) == SECRET


@pytest.mark.parametrize(
    ("mode", "content", "what"),
    [
        (0o640, SECRET, "chmod 600"),
        (0o604, SECRET, "chmod 600"),
        (0o600, "", "at most 80"),
        (0o600, "a\nb", "at most 80"),
        (0o600, 'a"; include "/etc/shadow', "at most 80"),
        (0o600, "x" * 81, "at most 80"),
        (0o600, "tigré", "at most 80"),
    ],
)
def test_a_bad_password_is_refused_and_not_shown(tmp_path: Path, mode: int, content: str, what: str) -> None:
    file = tmp_path / "password"
    file.touch(mode)
    file.chmod(mode)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(BirdError, match=what) as caught:
        read_password(file)
    assert not content or content not in str(caught.value)


# --- the control socket ------------------------------------------------------------------------------------------------------


def answering(path: Path, *answers: bytes) -> threading.Thread:
    """Start a thread that acts as bird: it sends the next answer after each command."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)

    def answer() -> None:
        with server, server.accept()[0] as taken:
            taken.sendall(b"0001 BIRD 2.0.12 ready.\n")
            for each in answers:
                taken.recv(1000)
                for byte in each:
                    taken.sendall(bytes([byte]))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_a_reply_is_its_lines_without_codes(tmp_path: Path) -> None:
    thread = answering(
        tmp_path / "ctl", b"1000-BIRD 2.0.12\n1011-Router ID is 1.2.3.4\n Hostname is x\n0013 Daemon is up\n", b"0000 \n"
    )
    with Control(tmp_path / "ctl", 10.0) as control:
        control.greet()
        assert control.ask("show status") == ["BIRD 2.0.12", "Router ID is 1.2.3.4", "Hostname is x", "Daemon is up"]
        assert control.ask("show protocols") == [""]
    thread.join()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"0002-Reading configuration from x\n8002 x:1:1 syntax error\n", "x:1:1 syntax error"),
        (b"9001 syntax error\n", "syntax error"),
        (b"0002-Reading", "has ended"),
    ],
)
def test_a_refusal_is_bird_s_own_text(tmp_path: Path, answer: bytes, what: str) -> None:
    answering(tmp_path / "ctl", answer)
    with Control(tmp_path / "ctl", 10.0) as control:
        control.greet()
        with pytest.raises(BirdError, match=what):
            control.ask("configure")


def test_a_bird_that_is_stopped_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "ctl"))
        server.listen(1)
        with Control(tmp_path / "ctl", 0.01) as control:
            assert control.pid() > 0
            with pytest.raises(BirdError, match="does not answer"):
                control.greet()


def test_without_a_socket_there_is_no_bird(tmp_path: Path) -> None:
    with pytest.raises(BirdError, match="ctl"):
        Control(tmp_path / "ctl", 1.0)
