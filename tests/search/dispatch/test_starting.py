"""What must be so on this machine before Ray is started, and what is said where it is not."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray._private.utils import validate_socket_filepath
from ray._private.worker import print_to_stdstream
from search_processes import on_one_ray

from fusion_search.search.dispatch import connection, start
from fusion_search.search.dispatch.start import ResourceError, check_temporary_folder
from fusion_search.search.trials.fields import ConfigurationError


@pytest.fixture(autouse=True)
def no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def of_length(folder: Path, count: int) -> Path:
    return Path(f"{folder}/".ljust(count, "x"))


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_path_too_long_for_sockets_is_refused_from_the_first_byte_that_ray_refuses(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    session = f"ray/session_2026-11-26_01-29-54_832873_{os.getpid()}/sockets/plasma_store"
    longest = 107 - len(session) - 1
    base = Path(f"/tmp/{os.getpid()}")
    fits, too_long = of_length(base, longest), of_length(base, longest + 1)
    validate_socket_filepath(f"{fits}/{session}")
    with pytest.raises(OSError, match="path length"):
        validate_socket_filepath(f"{too_long}/{session}")
    monkeypatch.setenv(name, str(fits))
    try:
        check_temporary_folder()
    finally:
        for one in (fits / "ray", fits, base):
            one.rmdir()
    monkeypatch.setenv(name, str(too_long))
    with pytest.raises(ConfigurationError) as caught:
        check_temporary_folder()
    assert str(caught.value) == (
        f"the path of Ray's temporary folder is too long for its sockets: {too_long}; set "
        f"RAY_TMPDIR to a folder whose path has at most {longest} bytes, such as /tmp"
    )


def test_a_temporary_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/no")
    with pytest.raises(ConfigurationError, match=r"Ray cannot write to .* /proc/no \(.*RAY_TMPDIR"):
        check_temporary_folder()


def test_a_full_temporary_folder_is_named(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A link: the folder's own path may be too long.
    link = Path(f"/tmp/full-{os.getpid()}")
    link.symlink_to(small_disk)
    monkeypatch.setenv("RAY_TMPDIR", str(link))
    try:
        with pytest.raises(
            ConfigurationError, match=r"has no room for the 4 MiB .* make room, or set "
        ):
            check_temporary_folder()
    finally:
        link.unlink()


def test_ray_is_not_begun_where_it_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray was begun"))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 60)
    with (
        pytest.raises(ConfigurationError, match="too long"),
        connection.connection("local"),
    ):
        pass


@pytest.mark.parametrize("kind", [TimeoutError, Exception])  # Ray raises the latter too
def test_what_ray_says_itself_is_not_taken_for_a_cluster_that_is_not_there(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: object) -> None:
        raise kind("Timed out waiting for file\n/tmp/ray/version")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with (
        pytest.raises(ResourceError) as caught,
        connection.connection("local"),
    ):
        pass
    assert str(caught.value) == (
        "Ray cannot be started on this machine (Timed out waiting for file /tmp/ray/version); its "
        "logs are in /tmp/ray/session_latest/logs"
    )
    assert os.environ["RAY_AUTH_TOKEN"] == "mine"


def test_a_ray_that_is_too_slow_to_start_is_a_busy_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**options: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with (
        pytest.raises(ResourceError, match=r"busy .*; start again .*: nothing is lost"),
        connection.connection("local"),
    ):
        pass


def test_how_the_shell_takes_warnings_is_not_for_rays_own_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(**options: object) -> None:
        assert "PYTHONWARNINGS" not in os.environ

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with connection.connection("local"):
        pass
    assert os.environ["PYTHONWARNINGS"] == "error"


def test_python_without_docstrings_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "sys", SimpleNamespace(flags=SimpleNamespace(optimize=2)))
    with (
        pytest.raises(ResourceError, match="unset PYTHONOPTIMIZE"),
        connection.connection("local"),
    ):
        pass


@on_one_ray
def test_a_stack_that_a_lost_node_leaves_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    stack = "Raylet is terminated.\n    *** StackTrace Information ***\n    raylet(+0xff) main"
    # As Ray does with what a node's daemon had to say.
    print_to_stdstream({"lines": [stack], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert capfd.readouterr() == ("", "")


@on_one_ray
def test_threads_of_a_worker_share_one_arena_of_memory() -> None:
    arenas = ray.get(ray.remote(lambda: os.environ.get("MALLOC_ARENA_MAX")).remote())
    assert arenas == "1"
