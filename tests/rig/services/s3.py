"""An S3-compatible server (moto) as a process, in this namespace or another, and its clients."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from awscli.clidriver import create_clidriver
from botocore.config import Config

from tests.rig.world import wait_for

REGION: Final = "us-east-1"
ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOSTS: Final = ("s3.us-east-1.amazonaws.com", "s3.amazonaws.com")  # the service's names; moto accepts both addressing styles
ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
START_S: Final = 120.0  # to import moto, on a slow machine

S3 = Any  # boto3 creates its client classes at run time


@contextmanager
def s3_server(address: str, port: int, directory: Path, inside: Sequence[str] = ()) -> Iterator[None]:
    """Run a server; `inside` is a command prefix that runs it in another namespace."""
    command = [*inside, sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)]
    with (directory / "s3.log").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        wait_for(
            lambda: b"Running on" in (directory / "s3.log").read_bytes() or process.poll() is not None, "the S3 server", START_S
        )
        assert process.poll() is None, (directory / "s3.log").read_text()
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def names_at(address: str) -> Iterator[None]:
    """Resolve the names of the service and of all its buckets to one address for clients in this process."""
    ask = socket.getaddrinfo

    def answer(host: str, *more: Any, **others: Any) -> Any:  # noqa: ANN401 - as getaddrinfo has them
        return ask(address if str(host).endswith(HOSTS) else host, *more, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", answer)
        yield


def aws(*words: str) -> int:
    """Run the AWS command in this process, which saves its start-up time, and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        return int(create_clidriver().main(list(words)))


def client(url: str, style: str = "path", attempts: int = 1) -> S3:
    """Return a client of the server at a URL; `attempts`: the most for one call; `style`: path or virtual."""
    config = Config(
        s3={"addressing_style": style},
        signature_version="s3v4",
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
    )
    return boto3.client(
        "s3", endpoint_url=url, region_name=REGION, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, config=config
    )


class Interrupting(io.BytesIO):
    """An object that calls `happens` once, when half of it has been sent or received.

    Clients also read it to sign it, before they have a connection: `ready` returns whether it is being sent.
    """

    def __init__(self, happens: Callable[[], None], ready: Callable[[], bool], half: int, content: bytes = b"") -> None:
        super().__init__(content)
        self._happens = happens
        self._ready = ready
        self._half = half
        self.happened = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        self._look()
        return super().read(size)

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever has bytes
        """Append bytes."""
        self._look()
        return super().write(data)

    def _look(self) -> None:
        if not self.happened and self.tell() >= self._half and self._ready():
            self.happened = True
            self._happens()
