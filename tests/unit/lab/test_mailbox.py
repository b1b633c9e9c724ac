"""Standard input for a command in a lab that reads it."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from netorch.cli.main import _reads_input
from netorch.lab.hosts import Record
from netorch.lab.mailbox import Mailbox, Request
from netorch.lab.runner import Runner
from netorch.lab.topology import Topology


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("apply -f -", True),
        ("apply --yes --file - --no-wait", True),
        ("plan --file=-", True),
        ("plan -f-", True),
        ("apply -f vpc.yaml", False),
        ("store put KEY -f - ", True),
        ("instance exec web -- cat -", False),
        ("apply", False),
    ],
)
def test_only_a_command_that_names_standard_input_takes_it_along(line: str, reads: bool) -> None:
    assert _reads_input(line.split()) is reads


@pytest.mark.parametrize(("has_input", "heard"), [(True, b"vpcs: []\n"), (False, b"")])
def test_input_crosses_the_border_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], has_input: bool, heard: bytes
) -> None:
    mailbox = Mailbox(tmp_path / "labs" / "box")
    mailbox.make()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"vpcs: []\n")))
    monkeypatch.setattr("netorch.lab.runner.environment", lambda *_: dict(os.environ))
    runner = Runner.__new__(Runner)
    runner.directory = tmp_path
    runner.record = Record(topology=Topology(name="box", nodes=()), file="")

    def serve() -> None:
        with (mailbox.directory / "notify").open() as fifo:
            work = mailbox.directory / fifo.readline().split()[1]
            request = msgspec.json.decode((work / "request").read_bytes(), type=Request)
            with (work / "out").open("ab") as out, (work / "err").open("ab") as err:
                process, _ = runner._spawn(work, request, out, err)
                status = process.wait()
            (work / "status").write_text(f"{status}\n")

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    fifo = os.open(mailbox.directory / "notify", os.O_RDWR)  # so that the line waits until the other side reads
    try:
        assert mailbox.call(Request(argv=["cat"], has_input=has_input)) == 0
    finally:
        os.close(fifo)
    server.join()
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == heard
