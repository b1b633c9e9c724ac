"""Secrets sealed for an edge: only this edge opens them, and nothing reveals them."""

from __future__ import annotations

import stat
import traceback
from pathlib import Path

import msgspec
import pytest

from netorch.drivers.daemons.sealing import EdgeKey
from netorch.errors import KernelError
from netorch.model.outside.secrets import Secret, seal

CANARY = "the.canary.0123456789"


def test_what_is_sealed_for_an_edge_is_opened_by_it_after_a_restart_too(tmp_path: Path) -> None:
    first = EdgeKey(tmp_path / "key")
    box = seal(first.public, Secret(psk=CANARY))
    again = EdgeKey(tmp_path / "key")
    assert again.public == first.public
    assert again.open(box) == Secret(psk=CANARY)
    assert seal(first.public, Secret(psk=CANARY)) != box


def test_nobody_else_opens_it(tmp_path: Path) -> None:
    box = seal(EdgeKey(tmp_path / "one").public, Secret(psk=CANARY))
    with pytest.raises(KernelError, match="it was sealed for another key than this edge has; set it again"):
        EdgeKey(tmp_path / "other").open(box)


@pytest.mark.parametrize("box", ["", "x", "ä", "AAAA", "A" * 400])
def test_what_is_no_box_is_refused(tmp_path: Path, box: str) -> None:
    with pytest.raises(KernelError, match="open a sealed secret"):
        EdgeKey(tmp_path / "key").open(box)


def test_what_is_in_a_box_that_holds_something_else_is_not_told(tmp_path: Path) -> None:
    from base64 import b64decode, b64encode

    from nacl.public import PublicKey, SealedBox

    key = EdgeKey(tmp_path / "key")
    sealed = SealedBox(PublicKey(b64decode(key.public))).encrypt(msgspec.json.encode({"psk": CANARY, CANARY: 1}))
    with pytest.raises(KernelError) as caught:
        key.open(b64encode(sealed).decode())
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_the_private_key_is_its_owner_s_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    EdgeKey(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o640)
    with pytest.raises(KernelError, match="others may read it; chmod 600"):
        EdgeKey(path)


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("x")
    path.chmod(0o600)
    with pytest.raises(KernelError, match="it is damaged; remove it"):
        EdgeKey(path)
    assert path.read_text() == "x"


def test_texts_show_nothing(tmp_path: Path) -> None:
    key, secret = EdgeKey(tmp_path / "key"), Secret(psk=CANARY, key=CANARY, md5=CANARY)
    private = (tmp_path / "key").read_text()
    for shown in (repr(secret), str(secret), f"{secret!r:s}", repr(key), str(vars(key))):
        assert CANARY not in shown
        assert private not in shown


def test_what_is_no_public_key_is_said(tmp_path: Path) -> None:
    for wrong in ("", "x", "AAAA"):
        with pytest.raises(ValueError, match="is not an edge's public key"):
            seal(wrong, Secret(psk=CANARY))
