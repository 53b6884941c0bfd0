"""Nothing runs, listens, escapes or is told that should not."""

from __future__ import annotations

import ast
import io
import os
import pickle
import tarfile
from pathlib import Path

import pytest
import torch
import yaml
from damage import fingerprint
from interrupted_launch import SECRET, Interrupted
from small_trials import small_trial
from test_damaged_files import wav

from fusion_search.analysis.records.secrets import without_password
from fusion_search.analysis.records.torch_file import TorchFileError
from fusion_search.datasets.digits.spoken_digits import load_spoken_digits, read_recordings
from fusion_search.datasets.errors import DataError
from fusion_search.search.declaration.configuration import build_search, to_yaml
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.inspection.probe import trained_network

ROOT = Path(__file__).parents[2]

RECORDING = "fsdd/recordings/7_theo_3.wav"


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            content = wav() if member.isreg() else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("name", [f"../{RECORDING}", f"/tmp/{RECORDING}", f"x/../../{RECORDING}"])
def test_a_member_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar.gz", member(RECORDING), member(name))
    with pytest.raises(DataError, match="leads outside the archive"):
        read_recordings(path)
    assert [one.name for one in tmp_path.iterdir()] == ["x.tar.gz"]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../../../etc/passwd"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "fsdd/recordings/1_theo_1.wav"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.DIRTYPE, ""),
    ],
)
def test_links_devices_and_folders_are_no_recordings(
    kind: bytes, target: str, tmp_path: Path
) -> None:
    other = member("fsdd/recordings/1_theo_1.wav")
    path = archive(tmp_path / "x.tar.gz", other, member(RECORDING, kind, target))
    assert [one.name for one in read_recordings(path)[0]] == ["1_theo_1.wav"]
    assert [one.name for one in tmp_path.iterdir()] == ["x.tar.gz"]


def test_two_members_of_one_name_do_not_pass_for_two_recordings(tmp_path: Path) -> None:
    names = [f"fsdd/recordings/{d}_theo_{n}.wav" for d in range(10) for n in range(250)]
    path = archive(tmp_path / "v1.0.9.tar.gz", *map(member, [*names[:-1], names[0]]))
    with pytest.raises(DataError, match=r"\d_theo_\d+\.wav is in it twice"):
        load_spoken_digits(path.parent)


def test_an_archive_that_grows_without_bound_is_refused(tmp_path: Path) -> None:
    sparse = member("fsdd/recordings/7_theo_3.wav")
    sparse.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(2**40),
    }
    content = b"1\n0\n1\n".ljust(512, b"\0") + b"x".ljust(512, b"\0")
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        sparse.size = len(content)
        tar.addfile(sparse, io.BytesIO(content))
    with pytest.raises(DataError, match="recordings are larger than"):
        read_recordings(path)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        zeros = member("fsdd/zeros.bin")
        zeros.size = 65 << 20
        tar.addfile(zeros, io.BytesIO(bytes(zeros.size)))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="its content is larger than"):
        read_recordings(path)


class _Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "bare pickle"])
def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(
    zipped: bool, tmp_path: Path, small_opened: OpenedTask
) -> None:
    mark = tmp_path / "ran"
    values = {"state": _Payload(mark), "network": {}}
    buffer = io.BytesIO()
    if zipped:
        torch.save(values, buffer)
    else:
        buffer.write(pickle.dumps(values))
    with pytest.raises(TorchFileError):
        trained_network(small_trial(), small_opened, buffer.getvalue())
    assert not mark.exists()
    # The payload is one: what does load pickles runs it.
    pickle.loads(pickle.dumps(_Payload(mark)))
    assert mark.exists()


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call of a dotted name in a file."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node) for node in found]


def forbidden(name: str, call: ast.Call) -> bool:
    given = {one.arg: ast.unparse(one.value) for one in call.keywords}
    if name in ("torch.load", "load_checkpoint"):
        return given.get("weights_only") != "True"
    if name == "yaml.load":
        return given.get("Loader") not in ("_Loader", "_TextLoader")
    if name in ("np.load", "numpy.load"):
        return given.get("allow_pickle", "False") != "False"
    return given.get("shell") == "True" or name in {
        *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.loads"),
        *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "pd.read_pickle"),
        *("eval", "exec", "os.system", "os.popen", "marshal.loads", "shelve.open", "joblib.load"),
        *("tarfile.extract", "tarfile.extractall", "archive.extract", "archive.extractall"),
        *("zipfile.extractall", "shutil.unpack_archive"),
    }


@pytest.mark.parametrize("package", ["search", "models", "datasets", "analysis"])
def test_no_module_loads_code_from_files(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    wrong = [
        (path.name, name) for path in paths for name, one in calls(path) if forbidden(name, one)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "yaml.load(x, Loader=yaml.Loader)",
        "np.load(x, allow_pickle=True)",
        "pickle.loads(x)",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_check_for_such_modules_finds_them(line: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(line)
    assert [forbidden(name, one) for name, one in calls(path)] == [True]


PASSWORDS = [
    "postgresql://me:{}@db:5432/mlflow",
    "postgresql+psycopg2://me:p@ss{}@db/mlflow",
    "postgresql://db/mlflow?user=me&password={}",
    "mysql+pymysql://me:sl/ash{}@db/mlflow",
    "https://me:{}@server:5000",
    "https://{}@server",
    "https://server/api?token={}",
    "s3://AKIA:{}@bucket/results",
    "s3://AKIA:sl/ash+{}@bucket/results?region=x",
    "s3://bucket/results?access_key=AKIA&secret_key={}",
    "https://account.blob/x?sv=1&sig={}",
]


@pytest.mark.parametrize("uri", PASSWORDS)
@pytest.mark.parametrize("field", ["mlflow", "storage"])
def test_a_password_in_a_configuration_is_refused_and_not_repeated(uri: str, field: str) -> None:
    uri = uri.format(SECRET)
    raw = {"name": "x", "task": "digits", **({"storage": uri} if field == "storage" else {})}
    if field == "mlflow":
        raw["mlflow"] = {"tracking_uri": uri}
    with pytest.raises(ConfigurationError, match=r"holds a password .*; leave it out") as caught:
        build_search(raw)
    assert SECRET not in str(caught.value)
    assert SECRET not in without_password(f"failed at {uri} twice")


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////tmp/a:b@c/mlflow.db",
        "http://host:5000",
        "http://host:5000/a@b",
        "postgresql://me@db:5432/mlflow",
        "postgresql://me@db/mlflow?sslmode=require&passfile=/home/me/.pgpass",
        "abfs://container@account.dfs.core.windows.net/results",
        "s3://bucket/results?region=eu-west-1&endpoint_override=host:9000",
        "databricks://profile",
        "results at home",
    ],
)
def test_what_holds_no_password_is_kept(uri: str) -> None:
    own = {"storage": uri, "mlflow": {"tracking_uri": uri}}
    search = build_search({"name": "x", "task": "digits", **own})
    assert build_search(yaml.safe_load(to_yaml(search))) == search


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.xdist_group("interrupted")
def test_a_local_launch_listens_here_alone_and_tells_no_secret(interrupted: Interrupted) -> None:
    assert interrupted.sockets, "Ray was not seen listening at all"
    assert {address for address, _ in interrupted.sockets} <= LOOPBACK
    # Of the agents for jobs and environments; what else speaks HTTP here only tells of metrics.
    assert 401 in interrupted.answers
    assert not (interrupted.folder / "ran").exists()
    assert not (interrupted.folder / "home" / ".ray").exists(), "others may read a token there"
    assert SECRET not in interrupted.output
    files = fingerprint(interrupted.folder)
    assert {"results/mlflow.db", "results/test/specification.yaml"} <= files.keys()
    holding = [
        name for name in files if SECRET.encode() in (interrupted.folder / name).read_bytes()
    ]
    assert not holding
