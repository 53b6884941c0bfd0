"""Where a record comes from: code, packages, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "fusion-search",
    "torch",
    "torchaudio",
    "torchvision",
    "numpy",
    "ray",
    "optuna",
    "mlflow",
    "pandas",
    "pyarrow",
    "scikit-learn",
)
_PARTS: Final = ("search", "models", "datasets", "analysis")  # of this package

COMMIT_VARIABLE: Final = "FUSION_SEARCH_COMMIT"  # of code that was sent here without its checkout
_OTHER_REPOSITORY: Final = (  # of what `git rev-parse --local-env-vars` lists
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_PREFIX"),
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Columns of the ``trials`` table that tell of the code, which the driver sends to all.

    ``code_fingerprint`` is of the task's own code, None of a built-in task.
    """

    git_commit: str
    code_fingerprint: str | None = None


def provenance(code_fingerprint: str | None = None) -> Provenance:
    """Of this program, and of a task's code."""
    return Provenance(git_commit=git_commit(), code_fingerprint=code_fingerprint)


def machine_columns() -> dict[str, str]:
    """Columns of the ``trials`` table that tell where this process runs.

    ``versions`` is JSON, package -> version.
    """
    return {"versions": json.dumps(package_versions()), "host": platform.node()}


def program_fingerprint() -> str:
    """16 hexadecimal digits over this program's own source files, as they are imported here."""
    digest = hashlib.sha256()
    for name, path in sorted(package_files().items()):
        if path.suffix == ".py":
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def package_files() -> dict[str, Path]:
    """This program's own files, by where they belong: ``fusion_search/search/...``.

    In a checkout the parts lie beside each other, and the package itself in ``search/api``; where
    it was installed or sent to, they lie inside it.
    """
    own = _folder_of("fusion_search")
    files = {f"fusion_search/{path.name}": path for path in own.iterdir() if path.is_file()}
    for part in _PARTS:
        folder = _folder_of(f"fusion_search.{part}")
        for path in folder.rglob("*"):
            name = f"fusion_search/{part}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and not name.startswith("fusion_search/search/api/"):
                files[name] = path
    return {name: path for name, path in files.items() if "/__pycache__/" not in name}


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    return Path(str(spec.origin)).parent


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Python's version and those of packages, as installed where this runs."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str:
    """The checkout's commit, marked when files differ from it.

    Outside a checkout, what the environment says, else "unknown". A copy of this program may lie in
    a checkout of something else, such as in a ``.venv`` there: git is believed only where it tracks
    this very file.
    """
    file = Path(__file__).resolve()
    folder = file.parent
    try:
        _git(folder, "ls-files", "--error-unmatch", "--", file.name)
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return os.environ.get(COMMIT_VARIABLE, "unknown")
    return f"{commit} with changes" if changed else commit


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    # Which repository it is, is for the folder to say, not for a hook that we may run in.
    environ = {name: value for name, value in os.environ.items() if name not in _OTHER_REPOSITORY}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=30, env=environ
    )
    return done.stdout.strip()
