"""Labs by name, wherever they run: up, down, list, inspect, exec, shell.

  native   root, and a kernel with all features: hosts are namespaces of this machine
  userns   an ordinary user, and a kernel with all features: the same inside a user namespace
  kernel   any other machine: the same inside the lab kernel

A native lab's directory is /run/netorch/lab/NAME; the others have a mailbox (netorch.lab.mailbox) below the user's state
directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path

import msgspec

from netorch.errors import LabError
from netorch.lab import hosts
from netorch.lab.containerlab.file import load_topology
from netorch.lab.features import Feature, missing, probe_features
from netorch.lab.kernel import SYSTEM_PATH, boot, end_kernel, find_kernel, hidden
from netorch.lab.mailbox import FAILED, PROGRESS, READY, Mailbox, Request, outside_environment, terminal_size
from netorch.lab.nodes import alive
from netorch.lab.topology import Topology, from_json, to_json
from netorch.store.modes import make_directory

NATIVE_ROOT = Path("/run/netorch/lab")
UP_S = 600.0  # the runner itself gives up earlier, agent by agent
POLL_S = 0.02
GUEST_MEMORY_MB = 1536
_SESSION = "session.json"
# In a fresh user namespace: a private /run and /sys, as `ip netns` and the agents expect.
_USERNS_INIT = 'mount -t tmpfs none /run && mkdir -p /run/netns && mount -t sysfs none /sys; ip link set lo up; exec "$@"'


class Way(Enum):
    """Where a lab's hosts run."""

    NATIVE = "native"
    USERNS = "userns"
    KERNEL = "kernel"


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """A lab that is up, or was when last seen."""

    name: str
    way: Way
    file: str
    nodes: int
    running: bool
    ignored: tuple[str, ...] = ()


class _Session(msgspec.Struct, frozen=True, kw_only=True):
    """The record beside a mailbox."""

    name: str
    way: Way
    file: str
    nodes: int
    pid: int
    started: str  # the process's start time in /proc: the pid alone may be reused later


def mailboxes_root() -> Path:
    """Return the directory of the mailboxes of this user's labs."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(state, "netorch", "lab")


def choose_way(features: Sequence[Feature], *, root: bool, kernel: Callable[[], object] = find_kernel) -> Way:
    """Return how a lab can run on this machine.

    Raises LabError with the missing features when it cannot run.
    """
    absent = missing(features)
    if not absent:
        return Way.NATIVE if root else Way.USERNS
    tools = [feature for feature in absent if feature.name.startswith("command ")]
    if tools:
        raise LabError("lab: " + "; ".join(f"{feature.name} is missing: {feature.what_to_do}" for feature in tools))
    try:
        kernel()
    except LabError as error:
        names = ", ".join(feature.name for feature in absent)
        raise LabError(f"lab: this kernel lacks {names}, and no lab kernel is available: {error}") from error
    return Way.KERNEL


def up(file: str | Path, way: Way | None = None, progress: Callable[[str], None] = lambda _text: None) -> Lab:
    """Bring a lab up and return it when every agent follows the store.

    Raises:
      SpecError: the topology file is wrong.
      LabError: it cannot run on this machine, is up already, or did not come up; nothing of it is left.
    """
    topology = load_topology(file)
    if _exists(topology.name):
        raise LabError(f"lab {topology.name}: it is already up; take it down first: netorch lab down {topology.name}")
    features = probe_features()
    chosen = way or choose_way(features, root=os.geteuid() == 0)
    path = str(Path(file).resolve())
    progress(_where(topology.name, chosen, features))
    if chosen is Way.NATIVE:
        make_directory(NATIVE_ROOT)
        hosts.build(topology, NATIVE_ROOT / topology.name, path, progress)
    else:
        _up_in_mailbox(topology, chosen, path, progress)
    return Lab(name=topology.name, way=chosen, file=path, nodes=len(topology.nodes), running=True, ignored=topology.ignored)


def _where(name: str, way: Way, features: Sequence[Feature]) -> str:
    """Return where a lab comes up, and why there."""
    if way is Way.KERNEL:
        lacking = ", ".join(feature.name for feature in missing(features))
        return f"lab {name}: booting the lab kernel" + (f"; this machine's kernel lacks {lacking}" if lacking else "")
    return f"lab {name}: building it on this machine" + (", in a user namespace" if way is Way.USERNS else "")


def _up_in_mailbox(topology: Topology, way: Way, file: str, progress: Callable[[str], None]) -> None:
    mailbox = Mailbox(mailboxes_root() / topology.name)
    if mailbox.directory.exists():  # left by a lab that a reboot ended
        shutil.rmtree(mailbox.directory)
    mailbox.make()
    (mailbox.directory / "topology.json").write_bytes(to_json(topology))
    (mailbox.directory / "file").write_text(file)
    pid = 0
    try:
        pid, last_words = _start(way, mailbox.directory, file)
        session = _Session(name=topology.name, way=way, file=file, nodes=len(topology.nodes), pid=pid, started=_started(pid))
        (mailbox.directory / _SESSION).write_bytes(msgspec.json.encode(session))
        _await_ready(topology.name, mailbox.directory, pid, last_words, progress)
    except BaseException:
        if pid:
            _end(way, pid)
        shutil.rmtree(mailbox.directory, ignore_errors=True)
        raise


def _start(way: Way, mailbox: Path, file: str) -> tuple[int, Callable[[], str]]:
    """Start the lab's side; return the process that ends everything when killed, and a function for its last words."""
    runner = [sys.executable, "-P", "-m", "netorch.lab.runner", str(mailbox)]
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL") if name in os.environ}
    env["PATH"] = f"{env.get('PATH', '')}:{SYSTEM_PATH}"
    fifo = os.open(mailbox / "notify", os.O_RDWR)  # read-write: no end of file when the last caller hangs up
    with os.fdopen(fifo, "r+b", buffering=0) as console:
        if way is Way.KERNEL:
            (mailbox / "guest").mkdir()
            command = ["sh", "-c", 'exec "$@" </dev/tty1', "sh", *runner, "--own-kernel"]
            guest = boot(
                command,
                directory=mailbox / "guest",
                cwd=Path("/"),
                env=env,
                memory_mb=GUEST_MEMORY_MB,
                share=[mailbox, *hidden([Path(file).parent, Path.cwd().resolve()])],
                outlive=True,
                console=console,
            )
            guest.process.returncode = 0  # it outlives this process: no wait for it
            return guest.process.pid, lambda: _tail(mailbox / "guest" / "err") or guest.last_words()
        command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command += ["--", "sh", "-c", _USERNS_INIT, "sh", *runner]
        with (mailbox / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=console, stdout=log, stderr=log, env=env, start_new_session=True)
        process.returncode = 0
        return process.pid, lambda: _tail(mailbox / "log")


def _end(way: Way, pid: int) -> None:
    """End the lab's side. `unshare` ends all processes of its namespaces, but ignores SIGTERM."""
    end_kernel(pid, patience_s=2.0 if way is Way.KERNEL else 0.0)


def _tail(file: Path) -> str:
    return " | ".join(_lines(file)[-4:])


def _lines(file: Path) -> list[str]:
    """Return the whole lines of a file that may not exist yet."""
    try:
        return file.read_text(errors="replace").strip().splitlines()
    except OSError:
        return []


def _await_ready(name: str, mailbox: Path, pid: int, last_words: Callable[[], str], progress: Callable[[str], None]) -> None:
    deadline = time.monotonic() + UP_S
    shown = 0
    while True:
        ready = (mailbox / READY).exists()  # checked before reading: no step follows it
        steps = _lines(mailbox / PROGRESS)
        for step in steps[shown:]:
            progress(step)
        shown = len(steps)
        if ready:
            return
        if (mailbox / FAILED).exists():
            raise LabError((mailbox / FAILED).read_text())
        if not alive(pid) or (mailbox / "guest" / "status").exists():
            raise LabError(f"lab {name}: it ended while coming up: {last_words()}; see netorch doctor")
        if time.monotonic() > deadline:
            raise LabError(f"lab {name}: it did not come up within {UP_S:.0f} s: {last_words()}; see netorch doctor")
        time.sleep(POLL_S)


def _started(pid: int) -> str:
    """Return when a process started, in ticks since boot; empty if it does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _running(session: _Session) -> bool:
    return alive(session.pid) and _started(session.pid) == session.started


def _read_session(directory: Path) -> _Session | None:
    try:
        return msgspec.json.decode((directory / _SESSION).read_bytes(), type=_Session)
    except (OSError, msgspec.MsgspecError):
        return None


def _exists(name: str) -> bool:
    session = _read_session(mailboxes_root() / name)
    return (NATIVE_ROOT / name / hosts.RECORD).exists() or (session is not None and _running(session))


def list_labs() -> list[Lab]:
    """Return this machine's native labs and this user's others, by name."""
    labs = []
    for file in NATIVE_ROOT.glob(f"*/{hosts.RECORD}"):
        record = hosts.read_record(file.parent)
        running = all(alive(pid) for pid in record.agents.values())
        topology = record.topology
        labs.append(Lab(name=topology.name, way=Way.NATIVE, file=record.file, nodes=len(topology.nodes), running=running))
    for session in map(_read_session, (file.parent for file in mailboxes_root().glob(f"*/{_SESSION}"))):
        if session is not None:
            running = _running(session)
            labs.append(Lab(name=session.name, way=session.way, file=session.file, nodes=session.nodes, running=running))
    return sorted(labs, key=lambda lab: lab.name)


def _find(name: str) -> Mailbox | Path:
    """Return a lab's mailbox, or its directory when it is native. Raises LabError when there is no such lab."""
    if (NATIVE_ROOT / name / hosts.RECORD).exists():
        return NATIVE_ROOT / name
    session = _read_session(mailboxes_root() / name)
    if session is not None and _running(session):
        return Mailbox(mailboxes_root() / name)
    names = ", ".join(lab.name for lab in list_labs() if lab.running) or "none"
    raise LabError(f"lab {name}: it is not up (running labs: {names}); start it with netorch lab up FILE")


def down(name: str) -> None:
    """Take a lab down, with everything that it created. Raises LabError when there is none."""
    if (NATIVE_ROOT / name / hosts.RECORD).exists():
        hosts.destroy(NATIVE_ROOT / name)
        return
    directory = mailboxes_root() / name
    session = _read_session(directory)
    if session is None:
        _find(name)
        return
    if _running(session):
        _end(session.way, session.pid)
    shutil.rmtree(directory, ignore_errors=True)  # a command running in the lab removes its own files at the same time


def node_names(name: str | None) -> list[str]:
    """Return the nodes of a running lab without a request to it; none if there is no such lab."""
    if name is None or not _exists(name):
        return []
    native = NATIVE_ROOT / name
    if (native / hosts.RECORD).exists():
        return [node.name for node in hosts.read_record(native).topology.nodes]
    return [node.name for node in from_json((mailboxes_root() / name / "topology.json").read_bytes()).nodes]


def inspect(name: str) -> list[hosts.Row]:
    """Return a lab's nodes as they are now. Raises LabError when it is not up."""
    place = _find(name)
    if isinstance(place, Path):
        return hosts.rows(hosts.read_record(place))
    return msgspec.json.decode(place.ask(Request(argv=[])), type=list[hosts.Row])


def exec_in(name: str, node: str | None, argv: Sequence[str], *, reads_input: bool = False) -> int:
    """Run a command in a node, or where all hosts and the store are visible, with this stdout and stderr; return its status.

    With `reads_input` all of standard input is passed on first. Without it, a lab in another kernel passes on only a
    terminal's: a command in a script's loop must not consume the loop's input.

    Raises LabError when the lab or the node does not exist.
    """
    place = _find(name)
    if isinstance(place, Path):
        return hosts.run(hosts.read_record(place), place, node, argv)
    request = _request(node, argv, interactive=_at_terminal())
    return place.call(msgspec.structs.replace(request, has_input=reads_input and not request.tty))


def restart_agent(name: str, host: str) -> int:
    """Start a host's agent again after it has ended; return an exit status.

    Raises LabError when the lab does not exist, or the agent runs.
    """
    place = _find(name)
    if isinstance(place, Path):
        hosts.restart_agent(place, host)
        return 0
    return place.call(_request(None, ["netorch", "lab", "restart-agent", name, host], interactive=False))


def shell(name: str, node: str | None) -> int:
    """Run an interactive shell in a node, or where all hosts are visible, and return its status."""
    argv = [os.environ.get("SHELL") or "/bin/sh"]
    prompt = shell_prompt(name, node)
    place = _find(name)
    if isinstance(place, Path):
        return hosts.run(hosts.read_record(place), place, node, argv, prompt)
    if not _at_terminal():  # a mailbox cannot pass on a pipe
        raise LabError(f"lab {name}: a shell needs a terminal; to run one command use netorch lab exec {name} -- COMMAND")
    request = _request(node, argv, interactive=True)
    return place.call(msgspec.structs.replace(request, env=request.env | prompt))


def shell_prompt(name: str, node: str | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that put the lab and the node before a shell's prompt.

    bash sets PS1 in its start-up files, so PROMPT_COMMAND extends the prompt before each display; other shells use PS1.
    """
    mark = f"({name}/{node}) " if node else f"({name}) "
    return {
        "PS1": mark + environ.get("PS1", "# " if os.geteuid() == 0 else "$ "),
        "PROMPT_COMMAND": f"PS1='{mark}'\"${{PS1#'{mark}'}}\"",
    }


def _at_terminal() -> bool:
    """Return whether a person uses this terminal: then the command gets one, too, and may prompt and use colours."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def _request(node: str | None, argv: Sequence[str], *, interactive: bool) -> Request:
    rows, cols = terminal_size(sys.stdin.fileno()) if interactive else (24, 80)
    env = outside_environment()
    with contextlib.suppress(OSError):  # the command's stdout may also be a pipe, but the reader is at this terminal
        if sys.stdout.isatty():
            env.setdefault("COLUMNS", str(os.get_terminal_size(sys.stdout.fileno()).columns))
    return Request(argv=list(argv), node=node, cwd=os.getcwd(), env=env, tty=interactive, rows=rows, cols=cols)
