"""Tasks by name, and what is said of a name that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_search.search.tasks.base import TaskError
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.named import find_task


def test_a_task_is_found_by_its_name(tmp_path: Path) -> None:
    assert isinstance(find_task("digits"), Digits)
    assert find_task("digits", tmp_path).data_folder == tmp_path
    mine = find_task("odd_tasks:NoisySensors")
    assert type(mine).__name__ == "NoisySensors"
    assert mine.data_folder is None
    # Each has its own axes and metrics, which its data may change.
    assert find_task("odd_tasks:NoisySensors") is not mine


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "task is ''; allowed: digits, rgbd, table, xflow, or a class of yours"),
        (
            "numbers",
            "task is 'numbers'; allowed: digits, rgbd, table, xflow, or a class of yours",
        ),
        ("odd_tasks:", "task is 'odd_tasks:'; allowed: digits, rgbd, table, xflow, or"),
        (":Sensors", "task is ':Sensors'; allowed: digits, rgbd, table, xflow, or"),
        (
            "../odd_tasks:Sensors",
            "task is '../odd_tasks:Sensors'; allowed: digits, rgbd, table, xflow, or",
        ),
        (
            "odd_tasks:Sensors.open",
            "allowed: digits, rgbd, table, xflow, or a class of yours as module:Class",
        ),
        (
            "odd tasks:Sensors",
            "allowed: digits, rgbd, table, xflow, or a class of yours as module:Class",
        ),
        ("no_such_lab.gesture:Gestures", "but there is no module 'no_such_lab'"),
        ("odd_tasks.more:Gestures", "but there is no module 'odd_tasks.more'"),
        ("odd_tasks:Gestures", "but odd_tasks has no task Gestures"),
        ("odd_tasks:Widths", "but odd_tasks has no task Widths"),
        ("odd_tasks:macro_f1", "but odd_tasks has no task macro_f1"),
    ],
)
def test_a_name_that_is_no_task_is_told_so(name: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        find_task(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_library\n", "but there is no module 'no_such_library'"),
        ("class Mine(:\n", "cannot be imported: SyntaxError: invalid syntax"),
        ("raise RuntimeError('no licence')\n", "cannot be imported: RuntimeError: no licence"),
        (
            "from fusion_search import Task\nclass Mine(Task):\n"
            "    def __init__(self, folder):\n        pass\n",
            "but Mine() raises TypeError: Mine.__init__() missing 1 required",
        ),
    ],
    ids=["library", "syntax", "error", "arguments"],
)
def test_what_is_wrong_with_a_tasks_file_is_one_sentence(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"broken_{abs(hash(text))}"
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskError) as caught:
        find_task(f"{module}:Mine")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
