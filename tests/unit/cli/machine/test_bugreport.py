"""`netorch bugreport`: its content, no secrets, and a report even without a store or tools."""

from __future__ import annotations

import base64
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from netorch.diagnose.bugreport import collect
from netorch.diagnose.bugreport.collect import pieces, write
from netorch.diagnose.bugreport.redact import redacted
from netorch.records import keys
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run

CANARY = "canary0123456789abcdef"


def texts(path: Path) -> dict[str, str]:
    """Return the pieces of a report by name, relative to its folder."""
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            body = archive.extractfile(member)
            assert body is not None
            found[member.name.partition("/")[2]] = body.read().decode()
        return found


def test_a_report_has_what_concerns_the_host_and_no_secret(quick: Run, tmp_path: Path) -> None:
    quick("apply", "-f", "vpc.yaml", "--yes", "--no-wait")
    (tmp_path / "data").write_text(CANARY)
    quick("instance", "run", "told", "--subnet", "acme/acme/app", "--host", "hv1", "--user-data", "data", "--no-wait")
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Put("secret/hv1/x", CANARY.encode()), Put(keys.agent_status("hv1"), f'{{"token": "{CANARY}"}}'.encode())])
    quick("bugreport", "--host", "hv1", "-o", "report.tar.gz")
    path = tmp_path / "report.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    found = texts(path)
    assert {
        "netorch.txt",
        "missing.txt",
        "machine/uname",
        "store/status.json",
        "store/history.json",
        "store/records.txt",
    } <= found.keys()
    assert "netorch apply -f vpc.yaml" in found["store/history.json"]
    assert "10.44.12.4" in found["store/records.txt"]
    everything = "\n".join(found.values())
    for spelling in (CANARY, base64.b64encode(CANARY.encode()).decode(), base64.b64encode(CANARY.encode()).decode().rstrip("=")):
        assert spelling not in everything
    assert "File exists; give another path" in quick("bugreport", "--host", "hv1", "-o", "report.tar.gz", code=1).stderr
    quick("--owner", "acme", "bugreport", code=1)


def test_a_report_is_made_where_the_store_is_away_and_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    def away() -> SqliteStore:
        return SqliteStore(tmp_path / "none" / "db")

    missing = write(tmp_path / "report.tar.gz", "report", pieces("hv1", {"store": f"etcd://ann:{CANARY}@[::1]"}, away))
    found = texts(tmp_path / "report.tar.gz")
    assert found["netorch.txt"].endswith("store = etcd://***@[::1]\n")
    assert {line.partition(":")[0] for line in missing} >= {"machine/uname", "store/status.json", "store/records.txt"}
    assert found["missing.txt"].count("\n") == len(missing)


def test_a_secret_at_which_a_long_piece_is_cut_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MOST_BYTES", 60)
    write(tmp_path / "report.tar.gz", "report", iter([("long", lambda: f'{{"user_data": "{CANARY}{CANARY}"}}{" " * 30}')]))
    assert "canary" not in texts(tmp_path / "report.tar.gz")["long"].lower()
    assert CANARY[6:] not in texts(tmp_path / "report.tar.gz")["long"]


def test_what_an_owner_writes_takes_no_more_than_moments() -> None:
    for word in ("a-", "psk-", '"a":"b",', '"token-'):
        assert redacted(word * 5_000)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"user_data": "{CANARY}"}}',
        f'{{"tunnel_psk":"{CANARY}\\"{CANARY}", "name": "x"}}',
        f'  password "{CANARY}";',
        f"PSK: {CANARY}",
        f"secret = 0s{CANARY}",
        f"netorch_token={CANARY} next",
        f"https://{CANARY}:{CANARY}@example.net/",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n{CANARY}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
    ],
)
def test_what_is_called_a_secret_is_hidden(text: str) -> None:
    assert CANARY not in redacted(text)
    assert "***" in redacted(text)


def test_what_is_no_secret_stays() -> None:
    for text in (
        '{"name": "web", "cidr": "10.0.0.0/16"}',
        "tcp dport 443 accept",
        "psk_file: keys/one",
        "ip netns exec a ip -d link",
    ):
        assert redacted(text) == text
