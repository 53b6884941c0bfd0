"""What the command line does with the address of a cluster, short of a real one."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import yaml
from search_processes import on_one_ray
from small_trials import small_configuration

import fusion_search.search.dispatch.connection as ray_cluster
import fusion_search.search.running.travelling as travelling
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands import launching
from fusion_search.search.commands.command_line import main, parser
from fusion_search.search.declaration.configuration import build_search, parse_yaml
from fusion_search.search.declaration.specification import Resources, SearchSpecification
from fusion_search.search.dispatch import client
from fusion_search.search.dispatch.client import _Console, check_storage
from fusion_search.search.dispatch.connection import connect
from fusion_search.search.dispatch.head_command import (
    HeadCommand,
    head_command,
    storage_here,
    storage_of_head,
    use_token,
)
from fusion_search.search.dispatch.start import ResourceError, own_token
from fusion_search.search.records import provenance
from fusion_search.search.records.provenance import git_commit, package_files, program_fingerprint
from fusion_search.search.running.travelling import code_to_send
from fusion_search.search.tasks.current_folder import make_importable
from fusion_search.search.trials.fields import ConfigurationError

CONFIG = small_configuration(name="test")


@pytest.fixture
def some_token() -> Iterator[None]:
    """A token for Ray to send: a process that ran one before asks for it, and finds none."""
    with own_token():
        yield


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "storage": str(tmp_path / "results")}))
    return path


@contextlib.contextmanager
def answering(code: Any = None) -> Iterator[int]:
    """A server that answers any question of Ray's with nothing, or refuses with a code."""
    import grpc

    def answer(request: bytes, context: Any) -> bytes:
        if code is not None:
            context.abort(code, "no")
        return b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("command", "address"),
    [
        ("launch", "ray://127.0.0.1:9"),
        ("launch", "http://127.0.0.1:9"),
        ("submit", "http://127.0.0.1:9"),
        ("launch", "ray://nonsense"),
    ],
)
def test_a_head_that_is_not_there_is_named(
    config: Path,
    command: str,
    address: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FUSION_SEARCH_DATA", raising=False)  # of which there is a note
    assert main([command, str(config), "--address", address]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert error.count("\n") == 0
    assert address in error
    assert not (config.parent / "results").exists()


@pytest.mark.usefixtures("some_token")
@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_what_refuses_our_token_or_is_not_ray_is_said(prefix: str) -> None:
    grpc = pytest.importorskip("grpc")
    with answering(grpc.StatusCode.UNAUTHENTICATED) as port:
        address = f"{prefix}127.0.0.1:{port}"
        with pytest.raises(ResourceError, match=r"refuses the token.*RAY_AUTH_TOKEN"):
            ray_cluster._reach(address)
    with (
        answering(grpc.StatusCode.UNIMPLEMENTED) as port,
        pytest.raises(OSError, match="does not answer as Ray"),
    ):
        ray_cluster._reach(f"{prefix}127.0.0.1:{port}")


def test_a_cluster_that_asks_for_no_token_is_warned_of_unless_it_is_local(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # since another cluster's token lies here
    with answering() as port:
        assert ray_cluster._reach(f"ray://127.0.0.1:{port}") == f"ray://127.0.0.1:{port}"
        assert capsys.readouterr().err == ""
    # Else Ray would refuse what the cluster asks of it.
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    ray_cluster.warn_open("192.0.2.7", "192.0.2.7:6379")
    error = capsys.readouterr().err
    assert error.startswith("warning: the Ray cluster at 192.0.2.7:6379 asks for no token")
    assert "RAY_AUTH_MODE=token" in error


@pytest.fixture
def nobodys_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("some_token", "nobodys_proxy")
@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_a_cluster_is_asked_past_any_proxy(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    grpc = pytest.importorskip("grpc")
    with answering() as port:
        assert ray_cluster._reach(f"{prefix}127.0.0.1:{port}")
    with (
        answering(grpc.StatusCode.UNAUTHENTICATED) as port,
        pytest.raises(ResourceError, match="refuses the token"),
    ):
        ray_cluster._reach(f"{prefix}127.0.0.1:{port}")


@pytest.mark.usefixtures("some_token", "nobodys_proxy")
def test_a_dashboard_is_asked_past_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = pytest.importorskip("fusion_search.search.dispatch.jobs")
    monkeypatch.setenv("NO_PROXY", "elsewhere")
    monkeypatch.delenv("no_proxy")
    asked = []
    version = {"version": "4", "ray_version": ray.__version__, "ray_commit": ray.__commit__}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(version).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with jobs._client(f"http://127.0.0.1:{server.server_port}"):
            pass
        server.shutdown()
    assert set(asked) == {"/api/jobs/", "/api/version"}
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "elsewhere,127.0.0.1"


def test_words_for_the_head_node_are_those_of_the_same_command() -> None:
    search = build_search({**CONFIG, "storage": "elsewhere"})
    words = ["launch", "x.yaml", "--data", "/d", "--leave-out", "a"]
    arguments = parser().parse_args(words)
    command = head_command(arguments, search, "s3://bucket/results")
    again = parser().parse_args(command.words)
    assert again.leave_out == ["a"]
    assert (again.verb, again.data, again.storage) == ("launch", "/d", "s3://bucket/results")
    assert command.config is not None
    assert build_search(parse_yaml(command.config, "")) == search

    go_on = shlex.split(command.again("http://head:8265"))
    assert go_on[:3] == ["fusion-search", "resume", "test"]
    again = parser().parse_args(go_on[1:])
    assert (again.storage, again.address) == ("s3://bucket/results", "http://head:8265")
    assert (again.data, again.leave_out) == ("/d", ["a"])

    for words in (
        ["retry", "test"],
        ["resume", "test"],
        ["confirm", "test", "--top", "2", "--seeds", "4"],
    ):
        asked = parser().parse_args([*words, "--address", "ray://head:10001"])
        again = parser().parse_args(head_command(asked, None, "/shared").words)
        assert vars(again) == {**vars(asked), "storage": "/shared", "address": None}
        pasted = shlex.split(head_command(asked, None, "/shared").again("ray://head:10001"))
        again = parser().parse_args(pasted[1:])
        assert vars(again) == {**vars(asked), "storage": "/shared"}


@pytest.mark.parametrize("text", ["/x/run #2", "1e5", "no", "~", "a: b", "-x", "'", "$(x) y"])
def test_options_are_taken_literally(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[SearchSpecification] = []
    there: list[HeadCommand] = []
    monkeypatch.setattr(launching, "launch", lambda search, _: here.append(search) or 0)
    monkeypatch.setattr(
        "fusion_search.search.commands.launch._submit",
        lambda address, command, detach: there.append(command) or 0,
    )
    demo = str(Path(__file__).parents[3] / "search" / "configs" / "demo.yaml")
    options = [f"--storage={text}", f"--data={text}", "--address"]
    assert main(["launch", demo, *options, "local"]) == 0
    assert main(["launch", demo, *options, "http://head:8265"]) == 0
    assert here[0].storage == text
    again = parser().parse_args(there[0].words)
    assert (again.storage, again.data) == (storage_of_head(text), text)
    assert parser().parse_args(["sync-mlflow", "x", f"--tracking-uri={text}"]).tracking_uri == text


@pytest.mark.parametrize("verb", ["launch", "submit", "resume"])
def test_which_machine_looks_for_data_where_is_said(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fusion_search.search.commands.launch._submit", lambda *_, **__: 0)
    monkeypatch.setenv("FUSION_SEARCH_DATA", "/of the laptop")
    demo = str(Path(__file__).parents[3] / "search" / "configs" / "demo.yaml")
    words = [verb, "demo" if verb == "resume" else demo, "--address", "http://head:8265"]
    assert main(words) == 0
    error = capsys.readouterr().err
    assert "note: the head node reads the data; FUSION_SEARCH_DATA of this machine" in error
    assert "(/of the laptop) is not looked at" in error
    assert main([*words, "--data", "/there"]) == 0
    output, error = capsys.readouterr()
    assert output == "data: the head node reads them, from /there there\n"
    assert "FUSION_SEARCH_DATA" not in error


def test_a_machine_that_is_no_node_is_told_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself looks for its own node for a minute, and then there is no cluster, it says."""
    monkeypatch.setattr(ray_cluster, "_reach", lambda address: address)
    monkeypatch.setattr(ray_cluster, "_living_nodes", lambda address: {"a1", "b2"})
    monkeypatch.setattr("ray._private.services.find_node_ids", lambda: {"c3"})  # of another cluster
    with (
        pytest.raises(ResourceError) as refusal,
        connect("10.0.0.1:6379", Resources()),
    ):
        pass
    assert str(refusal.value).startswith(
        "this machine is no node of the Ray cluster at 10.0.0.1:6379"
    )
    assert "--address ray://10.0.0.1:10001" in str(refusal.value)
    assert "`fusion-search submit CONFIG.yaml --address http://10.0.0.1:8265`" in str(refusal.value)
    monkeypatch.setattr("ray._private.services.find_node_ids", lambda: {"c3", "b2"})
    ray_cluster._check_is_node("10.0.0.1:6379")


class LostHead:
    """Stands in for Ray's jobs: of a head node that is lost while a job's output is read."""

    def __init__(self, address: str) -> None:
        self.asked = 0

    def get_job_info(self, job: str) -> Any:
        self.asked += 1
        if self.asked > 1:
            raise ConnectionError("Failed to connect")
        return SimpleNamespace(metadata={"go_on": "fusion-search resume x --address http://h:1"})

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield "[1/2] a trial\n"
        raise RuntimeError("the connection was closed")


def test_a_head_lost_under_a_job_is_told_with_what_becomes_of_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = pytest.importorskip("fusion_search.search.dispatch.jobs")
    monkeypatch.setattr(jobs, "JobSubmissionClient", LostHead)
    monkeypatch.setattr(jobs, "reach_port", lambda *_: None)
    monkeypatch.setattr(jobs, "_asks_for_no_token", lambda _: False)
    with pytest.raises(ResourceError) as lost:
        jobs.attach("http://h:1", "x-1")
    assert "[1/2] a trial" in capsys.readouterr().out
    told = str(lost.value)
    assert told.startswith("the head node at http://h:1 answers no more")
    assert "job x-1 goes on: fusion-search attach x-1 --address http://h:1 shows it" in told
    assert told.endswith("the search goes on with: fusion-search resume x --address http://h:1")


def test_a_head_lost_behind_a_client_is_told_with_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose(_: object) -> None:
        raise ConnectionError("Client is shutting down.")

    actor = SimpleNamespace(remote=lambda *_: actor, follow=SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr(client, "connection", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(client, "check_storage", lambda _: None)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda _: actor)
    monkeypatch.setattr(ray, "get", lose)
    words = ("launch", "../search.yaml", "--storage", "/shared")
    command = HeadCommand(words=words, config="", name="x", storage="/shared")
    with pytest.raises(ResourceError) as lost:
        client.run_on_head("ray://h:10001", command)
    told = str(lost.value)
    assert told.startswith("the head node at ray://h:10001 was lost (Client is shutting down.)")
    assert told.endswith("fusion-search resume x --address ray://h:10001 --storage /shared")


def test_storage_keeps_its_meaning_or_is_the_head_nodes_home() -> None:
    assert storage_here("results") == str(Path.cwd() / "results")
    assert storage_here("~/results") == str(Path.home() / "results")
    assert storage_here("s3://bucket/results") == "s3://bucket/results"
    assert storage_of_head("results") == "~/results"
    for same in ("/shared/results", "~/results", "s3://bucket/results"):
        assert storage_of_head(same) == same


def test_a_token_that_is_there_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    environ: dict[str, str] = {}
    use_token(environ)
    assert environ == {}
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        environ = {name: "x"}
        use_token(environ)
        assert environ["RAY_AUTH_MODE"] == "token"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("x")
    environ = {}
    use_token(environ)
    assert environ == {"RAY_AUTH_MODE": "token"}
    environ = {"RAY_AUTH_MODE": "disabled"}
    use_token(environ)
    assert environ == {"RAY_AUTH_MODE": "disabled"}


@pytest.mark.parametrize("words", [["launch"], ["launch", "--address", "127.0.0.1:9"], ["submit"]])
def test_a_token_that_others_can_read_is_closed_with_a_word(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    command = [*words, str(tmp_path / "no.yaml")]
    assert main(command) == 2  # without a token
    assert "readable" not in capsys.readouterr().err
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "of a cluster"))
    (tmp_path / ".ray").mkdir()
    for token in (tmp_path / ".ray" / "auth_token", tmp_path / "of a cluster"):
        token.write_text("x")
        token.chmod(0o644)
        assert main(command) == 2
        assert f"warning: {token} was readable by others" in capsys.readouterr().err
        assert token.stat().st_mode & 0o777 == 0o600
        assert main(command) == 2
        assert "readable" not in capsys.readouterr().err


def test_a_token_that_we_cannot_close_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(path)

    token = tmp_path / "mounted"
    token.write_text("x")
    token.chmod(0o644)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.setattr(Path, "chmod", refuse)
    assert main(["launch", str(tmp_path / "no.yaml")]) == 2
    assert f"warning: {token} is readable by others" in capsys.readouterr().err


def test_a_user_without_a_home_folder_has_no_token_and_no_storage_there(
    homeless: None,
) -> None:
    environ: dict[str, str] = {}
    use_token(environ)
    assert environ == {}
    for read in (storage_here, open_storage):
        with pytest.raises(ValueError, match=r"'~/results' cannot be opened: its home folder"):
            read("~/results")
    # Ray Tune needs one wherever its cluster is: importing it would raise.
    for address in ("local", "127.0.0.1:1"):
        with pytest.raises(ResourceError, match="set HOME"), connect(address, Resources()):
            pass


def test_code_is_sent_without_caches_and_not_when_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with code_to_send() as (folder,):
        assert Path(folder).name == "fusion_search"
        sent = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.py")}
        assert {"__init__.py", "__main__.py", "search/trials/trial.py"} <= sent
        assert {"models/convlstm.py", "datasets/noise.py", "analysis/statistics.py"} <= sent
        assert not [name for name in sent if "__pycache__" in name or "search/api" in name]
    assert not Path(folder).exists()
    files = {**package_files(), "fusion_search/models/weights.pt": tmp_path / "weights.pt"}
    (tmp_path / "weights.pt").write_bytes(bytes(21_000_000))
    monkeypatch.setattr(travelling, "package_files", lambda: files)
    with (
        pytest.raises(ConfigurationError, match=r"2\d MB, allowed: 20 MB.*weights\.pt"),
        code_to_send(),
    ):
        pass


@on_one_ray
def test_a_worker_finds_what_lies_in_the_folder_of_the_command_last(tmp_path: Path) -> None:
    import ray

    (tmp_path / "my_lab.py").write_text("value = 3\n")
    (tmp_path / "yaml.py").write_text("raise ValueError('not this one')\n")

    def seen(folder: Path) -> tuple[int, str, list[str]]:
        make_importable(folder)
        found = import_module("my_lab")
        return found.value, str(import_module("yaml").__file__), sys.path

    value, other, path = ray.get(ray.remote(num_cpus=0)(seen).remote(tmp_path))
    assert value == 3
    assert Path(other).parent != tmp_path
    # Ray by itself would put the folder that a search is launched from first.
    assert str(Path.cwd()) not in path


def test_code_that_was_sent_has_the_fingerprint_of_its_origin(tmp_path: Path) -> None:
    with code_to_send() as (folder,):
        shutil.copytree(folder, tmp_path / "fusion_search")
    program = "import fusion_search.search.records.provenance as p; print(p.program_fingerprint())"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == program_fingerprint()


def test_records_of_code_without_a_checkout_know_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fusion_search.search.records.provenance.__file__", str(tmp_path / "provenance.py")
    )
    monkeypatch.delenv("FUSION_SEARCH_COMMIT", raising=False)
    assert git_commit() == "unknown"
    monkeypatch.setenv("FUSION_SEARCH_COMMIT", "abc with changes")
    assert git_commit() == "abc with changes"


def test_git_is_believed_only_where_it_tracks_this_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when this program is installed into a .venv inside another project's checkout."""

    def git(*words: str) -> str:
        options = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *options, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    copy = tmp_path / ".venv" / "fusion_search" / "provenance.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(str(provenance.__file__), copy)
    (tmp_path / "other.py").write_text("1")
    git("init", "--quiet")
    git("add", "other.py")
    git("commit", "--quiet", "--message", "another project")
    monkeypatch.setattr(provenance, "__file__", str(copy))
    monkeypatch.delenv("FUSION_SEARCH_COMMIT", raising=False)
    assert git_commit() == "unknown"
    monkeypatch.setenv("FUSION_SEARCH_COMMIT", "abc")
    assert git_commit() == "abc"
    git("add", "--force", ".venv")
    git("commit", "--quiet", "--message", "with it")
    assert git_commit() == git("rev-parse", "HEAD")
    commit = git("rev-parse", "HEAD")
    for name in ("DIR", "WORK_TREE", "INDEX_FILE", "COMMON_DIR", "OBJECT_DIRECTORY"):
        with monkeypatch.context() as hook:  # as git sets them for its hooks
            hook.setenv(f"GIT_{name}", str(tmp_path / "elsewhere"))
            assert git_commit() == commit, name


@pytest.mark.slow
def test_the_head_is_asked_for_the_storage_and_runs_a_command(
    tmp_path: Path,
) -> None:
    import ray

    storage = open_storage(tmp_path / f"results-{uuid.uuid4().hex}")
    with connect("local", Resources()):
        check_storage(storage)
        assert storage.names() == []
        # A path that is another folder in each process, as on another machine.
        (tmp_path / "hidden").mkdir()
        descriptor = os.open(tmp_path / "hidden", os.O_RDONLY)
        hidden = open_storage(f"/proc/self/fd/{descriptor}")
        with pytest.raises(ResourceError, match=r"head node does not see storage '/proc/.*s3://"):
            check_storage(hidden)
        assert hidden.names() == []
        os.close(descriptor)

        command = HeadCommand(
            words=("status", "nothing", "--storage", str(tmp_path)),
            config=None,
            name="nothing",
            storage=str(tmp_path),
        )
        console: Any = ray.remote(num_cpus=0)(_Console).remote(
            command, {"FUSION_SEARCH_COMMIT": "abc"}
        )
        printed, code = "", None
        while code is None:
            text, code = ray.get(console.follow.remote(), timeout=60)
            printed += text
        assert code == 2
        assert "there is no search 'nothing'" in printed


@on_one_ray
def test_an_address_that_is_refused_leaves_a_ray_that_runs_here_alone() -> None:
    import ray

    with pytest.raises(ResourceError), connect("127.0.0.1:1", Resources()):
        pass
    assert ray.is_initialized()
