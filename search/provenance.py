"""Where a record comes from: code, packages, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "fusion-search",
    "torch",
    "torchaudio",
    "numpy",
    "ray",
    "optuna",
    "mlflow",
    "pandas",
    "pyarrow",
    "scikit-learn",
)
OWN_PACKAGES: Final = ("search", "models", "datasets", "analysis")

COMMIT_VARIABLE: Final = "FUSION_SEARCH_COMMIT"  # of code that was sent here without its checkout


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Columns of the ``trials`` table; ``versions`` is JSON, package -> version."""

    git_commit: str
    versions: str
    host: str


def provenance() -> Provenance:
    """Of this process."""
    return Provenance(
        git_commit=git_commit(), versions=json.dumps(package_versions()), host=platform.node()
    )


def code_fingerprint() -> str:
    """16 hexadecimal digits over this program's own source files, as they are imported here."""
    digest = hashlib.sha256()
    for folder in package_folders():
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder.parent).as_posix()
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def package_folders() -> list[Path]:
    """Of this program's own packages; where they were sent to, each lies somewhere else."""
    return [Path(str(import_module(package).__file__)).parent for package in OWN_PACKAGES]


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

    Outside a checkout, what the environment says, else "unknown".
    """
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return os.environ.get(COMMIT_VARIABLE, "unknown")
    return f"{commit} with changes" if changed else commit


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
