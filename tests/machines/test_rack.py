"""Machines have what is theirs, and nothing of them is left, however their builder ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rack import HOME, Rack, rack, wait_until, why_none

pytestmark = pytest.mark.machines

BUILDER = """
import sys
from pathlib import Path
from rack import rack
with rack(Path(sys.argv[1]), "one", "two") as built:
    built["one"].start("setsid", "sleep", "3600")
    built["two"].start("bash", "-c", "sleep 3600 & disown; sleep 3600")
    built["two"].lose_power()
    built["two"].boot()
    print("built", built.first, *(one.first for one in built.machines.values()), flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "raise":
        raise ValueError("an error")
"""
ENDS = {"end": 0, "raise": 1, "SIGINT": -2, "SIGTERM": -15, "SIGKILL": -9}  # with their exit codes


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    with rack(tmp_path_factory.mktemp("rack"), "one", "two") as built:
        yield built


def reaches(machines: Rack, one: str, other: str) -> bool:
    """A refusal is an answer."""
    ask = f"exec 2>&1; timeout 2 bash -c ': >/dev/tcp/{other}/9' || true"
    return "refused" in machines[one].run("bash", "-c", ask)


def test_what_is_a_machines_own(machines: Rack) -> None:
    one, two = machines["one"], machines["two"]
    assert one.run("hostname") == "one\n"
    one.run("touch", f"{HOME}/file", "/tmp/file", "/dev/shm/file")
    assert two.run("ls", HOME, "/tmp", "/dev/shm") == f"/dev/shm:\n\n/tmp:\nhome\n\n{HOME}:\n"
    assert (one.home / "file").exists()
    assert not Path("/dev/shm/file").exists()
    processes = two.run("bash", "-c", "cat /proc/[0-9]*/comm").split()
    assert set(processes) <= {"bash", "sleep", "cat"}
    for folder in ("/", "/root", str(Path(__file__).parent)):
        assert "Read-only" in one.run("bash", "-c", f"touch {folder}/file 2>&1 || true"), folder
    with pytest.raises(AssertionError, match="one: false: 1"):
        one.run("false")


def test_the_network_ends_at_the_switch(machines: Rack) -> None:
    routes = machines["one"].run("ip", "route").split()
    assert routes[:3] == ["10.77.0.0/24", "dev", "eth0"]
    assert "default" not in routes


def test_a_cable_is_cut_and_whole_again(machines: Rack) -> None:
    assert reaches(machines, "one", "two")
    machines["two"].cut()
    assert not reaches(machines, "one", "two")
    machines["two"].heal()
    wait_until(lambda: reaches(machines, "one", "two"), "two is reached again", 60)


def test_power_lost_leaves_the_disk_alone(machines: Rack) -> None:
    two = machines["two"]
    two.run("touch", f"{HOME}/kept", "/dev/shm/lost")
    sleep = two.start("sleep", "3600")
    two.lose_power()
    assert sleep.wait(60) != 0
    assert not reaches(machines, "one", "two")
    two.boot()
    assert two.run("ls", HOME, "/dev/shm") == f"/dev/shm:\n\n{HOME}:\nkept\n"
    wait_until(lambda: reaches(machines, "one", "two"), "two is reached again", 60)


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        ("os.geteuid", lambda: 1000, "building machines takes root's rights"),
        ("sys.platform", "darwin", "made of Linux's namespaces, and this is darwin"),
        ("rack._PROGRAMS", ("bash", "no-such"), "machines need no-such; Debian's"),
        ("rack._SWITCH", "echo 'not permitted'", "builds no machines: not permitted"),
    ],
)
def test_where_none_can_be_built_a_sentence_says_why(
    monkeypatch: pytest.MonkeyPatch, where: str, value: object, sentence: str
) -> None:
    assert why_none() == ""
    monkeypatch.setattr(where, value)
    assert sentence in why_none()


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left(tmp_path: Path, end: str) -> None:
    builder = subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(tmp_path / "rack"), end],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert builder.stdin
    assert builder.stdout
    try:
        line = next(one for one in builder.stdout if one.startswith("built"))
        spaces = {space for one in line.split()[1:] for space in spaces_of(one)}
        assert len(spaces) == 9  # rack and two machines: processes, mounts, network
        assert len(inhabitants(spaces)) > 6
        if end.startswith("SIG"):
            builder.send_signal(signal.Signals[end])
        else:
            builder.stdin.write("\n")
            builder.stdin.flush()
        assert builder.wait(60) == ENDS[end]
    finally:
        builder.kill()
    wait_until(lambda: not inhabitants(spaces), "all of their processes are gone", 60)
    # A namespace without a process lives on only where something of it is mounted.
    mounted = Path("/proc/self/mountinfo").read_text()
    assert str(tmp_path) not in mounted
    assert not [one for one in spaces if one in mounted]


def spaces_of(process: str) -> set[str]:
    """Its namespaces; none of one that has ended or may not be looked at."""
    with contextlib.suppress(OSError):
        return {str(Path(f"/proc/{process}/ns/{one}").readlink()) for one in ("pid", "mnt", "net")}
    return set()


def inhabitants(spaces: set[str]) -> list[str]:
    """Processes in any of them."""
    processes = [one.name for one in Path("/proc").glob("[0-9]*")]
    return [one for one in processes if spaces_of(one) & spaces]
