"""`python -m netorch.services LABEL DIRECTORY DESCRIPTOR`: the process in a namespace, started by the driver.

The descriptor is a bound socket, the control socket. The process calls listen() on it only after it has dropped its
privileges. So any answer on this socket comes from an unprivileged process. The process logs to stderr, which is a
file.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from netorch.services.control import Control
from netorch.services.held import Objects
from netorch.services.privileges import give_up
from netorch.services.said import Said
from netorch.services.table import handlers


def main(label: str, directory: Path, descriptor: int) -> None:
    """Serve until a signal ends the process. After SIGTERM the process accepts nothing new and lets open transfers end."""
    logging.basicConfig(level=logging.INFO, handlers=[Said()])
    objects = Objects(handlers(label, directory))
    listening = socket.socket(fileno=descriptor)
    listening.setblocking(False)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    give_up()
    listening.listen()
    asyncio.run(_serve(listening, objects))


async def _serve(listening: socket.socket, objects: Objects) -> None:
    loop = asyncio.get_running_loop()
    serving = loop.create_task(Control(listening, objects).serve())
    loop.add_signal_handler(signal.SIGTERM, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving
    listening.close()
    await objects.end()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
