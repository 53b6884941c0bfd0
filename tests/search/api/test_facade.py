"""What ``fusion_search`` itself hands on."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

import fusion_search


def test_every_name_is_there() -> None:
    for name in fusion_search.__all__:
        assert name in dir(fusion_search)
        one = getattr(fusion_search, name)
        if not name.isupper():
            assert one.__name__ == name
    assert (math.inf, -math.inf) == (fusion_search.ORIGINAL, fusion_search.ABSENT)
    assert isinstance(fusion_search.TOKENS, fusion_search.View)


def test_another_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"has no 'run_trail'; it has .*run_trial"):
        fusion_search.run_trail  # noqa: B018


@pytest.mark.parametrize(
    "program",
    [
        "import fusion_search",
        "from fusion_search.search.commands.command_line import parser as p; p()",
    ],
)
def test_nothing_slow_is_imported_before_it_is_needed(program: str, tmp_path: Path) -> None:
    slow = "{'torch', 'ray', 'mlflow', 'matplotlib', 'pandas', 'optuna'}"
    code = f"import sys; {program}; print({slow} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "set()"
