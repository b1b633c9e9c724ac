"""charon as a process, without an installed charon."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from netorch.drivers.charon import daemon
from netorch.drivers.charon.control import CharonError
from netorch.drivers.charon.driver import Charon
from netorch.drivers.daemons import process
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.model.outside.secrets import Secret, seal
from netorch.state.op import Create
from tests.unit.drivers.charon.connections import changed


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(process, "PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "charon"


def test_a_charon_that_is_not_installed_is_named_with_its_packages(nowhere: Path) -> None:
    key, fd = EdgeKey(nowhere.parent / "key"), os.open("/proc/self/ns/net", os.O_RDONLY)
    charon = Charon("outside", fd, nowhere, key)
    connection = changed(secret=seal(key.public, Secret(psk="the.canary")))
    (failure,) = charon.apply([Create(connection)])
    assert failure.error.errno == errno.ENOENT
    assert "charon-systemd is not installed; apt-get install charon-systemd" in str(failure.error)
    assert charon.dump() == {}
    assert charon.tunnels() == {}
    charon.close()
    os.close(fd)


def test_without_a_charon_there_is_nobody_to_talk_to(nowhere: Path) -> None:
    found = daemon.Daemon(nowhere, 0)
    with pytest.raises(CharonError), found.connected():
        pass
    assert not found.has_ended()
    found.stop()
    found.close()
