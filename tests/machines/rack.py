"""Several machines inside this one, on one switch: cables can be cut, and power can be lost.

Each has an address, a name, files, shared memory and processes of its own, by Linux's namespaces;
the switch has no way out. No namespace has a name and no mount is seen from outside, so all is gone
with the last process, and those end with the one that built the rack, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).parents[2]
HOME: Final = "/tmp/home"
"""Of every machine's user."""

_BOOT: Final = Path(__file__).with_name("boot.sh")
_NETWORK: Final = "10.77.0"
_PROGRAMS: Final = ("unshare", "nsenter", "setpriv", "mount", "hostname", "ip")
# The first process of its own namespaces: whoever comes in later ends with it.
_OF_ITS_OWN: Final = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
_SWITCH: Final = """
ip link add switch type bridge && ip link set switch up && echo up && exec >/dev/null || exit 1
trap '' TERM INT HUP
while :; do sleep 3600 & wait $!; done
"""


class RackError(RuntimeError):
    """This kernel, or this user, cannot build machines; the message is one sentence."""


class Log:
    """What happened when, printed as it happens."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, who: str, what: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {who:8} {what}", flush=True)


@dataclass
class Machine:
    """One machine; ``with rack(...)`` has booted it.

    Attributes:
        name, address: as the others know it.
        folder: its /tmp, which outlives its power.
        variables: of the environment of all its commands.
        first: the process that all of its own are below, as it is numbered here.
    """

    name: str
    address: str
    folder: Path
    _rack: Rack = field(repr=False)
    variables: dict[str, str] = field(default_factory=dict)
    first: int = 0
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        """Its user's home folder, as seen from here."""
        return self.folder / "home"

    @property
    def _cable(self) -> str:
        return f"v{self.name}"

    def boot(self) -> None:
        """Power on, the cable in."""
        self._process = _started(
            *self._rack.inside("--mount", "--pid"),
            *_OF_ITS_OWN,
            *("--uts", "--ipc", "--mount-proc"),
            *("bash", str(_BOOT), self.name, str(self.folder), str(self._rack.hosts)),
            *sorted(map(str, _programs())),
        )
        (unshare,) = _children(self._process.pid)  # of nsenter
        (self.first,) = _children(unshare)
        number = self.address.rpartition(".")[2]
        # A network card keeps its number, by which the others know it for a while.
        card = ("address", f"02:00:00:00:00:{int(number):02x}")
        peer = ("peer", "name", "eth0", *card, "netns", str(self.first))
        self._rack.ip("link", "add", self._cable, "type", "veth", *peer)
        self._rack.ip("link", "set", self._cable, "master", "switch", "up")
        own = ("nsenter", "--target", str(self.first), "--net", "ip")
        _done(*own, "address", "add", f"{self.address}/24", "dev", "eth0")
        _done(*own, "link", "set", "eth0", "up")
        self._rack.log.say(self.name, f"boots ({self.address})")

    def lose_power(self) -> None:
        """At once, and without a last word to anybody."""
        assert self._process is not None
        self._rack.ip("link", "delete", self._cable)
        os.kill(self.first, signal.SIGKILL)
        self._process.wait()
        self._rack.log.say(self.name, "its power is lost")

    def cut(self) -> None:
        """Its cable is out."""
        self._rack.ip("link", "set", self._cable, "down")
        self._rack.log.say(self.name, "its cable is cut")

    def heal(self) -> None:
        """Its cable is in again."""
        self._rack.ip("link", "set", self._cable, "up")
        self._rack.log.say(self.name, "its cable is whole again")

    def start(
        self, *words: str, output: IO[str] | int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """A command there, as its user would give it at home."""
        variables = {
            "HOME": HOME,
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            **self.variables,
        }
        into = ("nsenter", "--target", str(self.first))
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
        clean = ("env", "--ignore-environment", f"--chdir={HOME}")
        return subprocess.Popen(
            [*into, *spaces, *clean, *(f"{name}={one}" for name, one in variables.items()), *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is ours
        )

    def run(self, *words: str, seconds: float = 300) -> str:
        """A command there, to its end; what it printed.

        Raises:
            AssertionError: it failed, or takes longer than this.
        """
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(*words, output=output)
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            output.seek(0)
            printed = output.read()
        assert code == 0, f"{self.name}: {' '.join(words)}: {code}\n{printed}"
        return printed


@dataclass
class Rack:
    """Machines on one switch, made by :func:`rack`."""

    machines: dict[str, Machine]
    hosts: Path
    log: Log
    first: int  # process of the rack

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def inside(self, *spaces: str) -> tuple[str, ...]:
        """What has a command run in some of the rack's namespaces."""
        return ("nsenter", "--target", str(self.first), *spaces)

    def ip(self, *words: str) -> None:
        """The same of iproute2, at the switch."""
        _done(*self.inside("--net"), "ip", *words)


@contextlib.contextmanager
def rack(folder: Path, *names: str) -> Iterator[Rack]:
    """Build and boot machines, for as long as the block runs and this process lives.

    Args:
        folder: keeps their files.
        names: of the machines, of at most 14 letters.

    Raises:
        RackError: they cannot be built here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Ends with this process, and its namespaces with it.
    process = _started(
        *("setpriv", "--pdeathsig", "KILL"), *_OF_ITS_OWN, "--mount-proc", "bash", "-c", _SWITCH
    )
    (first,) = _children(process.pid)
    built = Rack({}, folder / "hosts", Log(), first)
    for number, name in enumerate(names, 1):
        built.machines[name] = Machine(name, f"{_NETWORK}.{number}", folder / name, built)
        built[name].folder.mkdir(exist_ok=True)
        built[name].folder.chmod(0o1777)
    known = [f"{one.address} {one.name}\n" for one in built.machines.values()]
    built.hosts.write_text("".join(["127.0.0.1 localhost\n", *known]))
    try:
        for one in built.machines.values():
            one.boot()
        yield built
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)
        process.wait()  # it ends when the last of them has


def why_none() -> str:
    """Why no machines can be built here, in a sentence; empty when they can."""
    if sys.platform != "linux":
        return f"machines are made of Linux's namespaces, and this is {sys.platform}"
    missing = [one for one in _PROGRAMS if shutil.which(one) is None]
    if missing:
        packages = "util-linux, mount, hostname and iproute2"
        return f"machines need {', '.join(missing)}; Debian's {packages} have them"
    if os.geteuid() != 0:
        return "building machines takes root's rights"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        try:
            with rack(Path(folder), "one"):
                return ""
        except RackError as error:
            return f"this kernel or container builds no machines: {error}"


def wait_until(true: Callable[[], bool], what: str, seconds: float) -> None:
    """Raise AssertionError if it is not so within these seconds."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)


def _programs() -> set[Path]:
    """Folders of what machines run: this checkout, and Python."""
    return {ROOT, *(Path(one).resolve() for one in (sys.prefix, sys.base_prefix))}


def _started(*words: str) -> subprocess.Popen[str]:
    """A first process, which says that it is up; in a session of its own, away from Ctrl-C."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    if said != "up\n":
        process.kill()
        rest = process.communicate()[0]
        raise RackError(" ".join(f"{said}{rest}".split()) or "no word from its first process")
    return process


def _done(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RackError(f"{' '.join(words)}: {' '.join(done.stderr.split())}")


def _children(process: int) -> Sequence[int]:
    threads = Path(f"/proc/{process}/task")
    return [int(one) for file in threads.glob("*/children") for one in file.read_text().split()]
