"""Tasks in files of the folder of the command: how they are found, and which files are theirs."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.records.task_code import (
    ChangedCodeError,
    check_task_code,
    task_code,
    write_task_code,
)
from fusion_search.search.tasks import current_folder
from fusion_search.search.tasks.base import TaskError
from fusion_search.search.tasks.named import find_task
from fusion_search.search.tasks.task_files import code_files

TASK = "from fusion_search import Task\nclass Mine(Task):\n    pass\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the command, whose modules are gone afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(current_folder._files, "files", {})
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('_in_', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_a_file_names_a_task_by_any_path_and_whatever_it_is_called(folder: Path) -> None:
    write(folder, travelled=f"import beside_it\n{TASK}", beside_it="", json=TASK)
    (folder / "my task-2.py").write_text(TASK)
    for name in ("./travelled.py", "travelled.py", f"{folder}/travelled.py", "travelled"):
        assert type(find_task(f"{name}:Mine")).__module__ == "travelled"
    assert type(find_task("./my task-2.py:Mine")).__name__ == "Mine"
    # The file's module has a name of its own, and the standard library keeps its.
    assert type(find_task("./json.py:Mine")).__module__.startswith("json-")
    assert not hasattr(__import__("json"), "Mine")
    with pytest.raises(TaskError, match=r"json comes before the file here, which is \./json\.py"):
        find_task("json:Mine")


def test_files_of_one_name_in_folders_of_a_folder_without_files_are_told_apart(
    folder: Path,
) -> None:
    for name, width in (("video", 3), ("audio", 4)):
        (folder / "my_nets" / name).mkdir(parents=True)
        (folder / "my_nets" / name / "helping.py").write_text(f"width = {width}\n")
    imported = "from my_nets.video import helping as a\nfrom my_nets.audio import helping as b\n"
    write(folder, twofold=f"{imported}{TASK}    widths = a.width, b.width\n")
    assert find_task("./twofold.py:Mine").widths == (3, 4)  # type: ignore[attr-defined]
    assert set(code_files("./twofold.py:Mine")) == {
        "twofold.py",
        "my_nets/video/helping.py",
        "my_nets/audio/helping.py",
    }
    # A folder of data is no package, however it is called.
    (folder / "no_such_library" / "train").mkdir(parents=True)
    (folder / "no_such_library" / "train" / "1.npz").write_text("")
    assert find_spec("no_such_library") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(3)\n", r"hostile\.py cannot be imported: it ends the program"),
        (
            "class Mine(:\n",
            r"cannot be imported: SyntaxError: invalid syntax \(hostile\.py, line 1",
        ),
        ("import no_such_library\n", "there is no module 'no_such_library'"),
        ("1 / 0\n", r"hostile\.py cannot be imported: ZeroDivisionError"),
        (f"from . import other\n{TASK}", r"is named as package\.module:Class"),
        ("from fusion_search import Task\nclass Mine(Task):\n    __init__ = exit\n", "ends the p"),
        ("Mine = 3\n", r"hostile\.py has no task Mine"),
    ],
    ids=["exits", "syntax", "library", "error", "relative", "exits later", "no task"],
)
def test_a_hostile_file_is_one_sentence(folder: Path, text: str, message: str) -> None:
    write(folder, hostile=text)
    with pytest.raises(TaskError, match=message) as caught:
        find_task("./hostile.py:Mine")
    assert "\n" not in str(caught.value)


def test_what_a_file_prints_is_not_in_our_answers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, loud=f"print('hello')\n{TASK}")
    find_task("./loud.py:Mine")
    assert capsys.readouterr() == ("", "hello\n")


def test_a_tasks_code_is_its_file_and_what_that_imports_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        folder,
        theirs=f"import json, yaml, helping\nfrom parts.blocks import level\n{TASK}",
        helping="def late():\n    import later\n",
        later="import theirs\n",
        unrelated="",
        yaml="",  # an installed one comes first
        parts_in___init__="",
        parts_in_blocks="from . import small\nlevel = 1\n",
        parts_in_small="",
        parts_in_unrelated="",
    )
    files = {"theirs.py", "helping.py", "later.py"}
    files |= {"parts/__init__.py", "parts/blocks.py", "parts/small.py"}
    assert set(code_files("./theirs.py:Mine")) == files
    assert set(code_files("theirs:Mine")) == files
    package = {one for one in files if "/" in one} | {"parts/unrelated.py"}
    assert set(code_files("parts.blocks:Mine")) == package
    code = task_code("./theirs.py:Mine").fingerprint
    monkeypatch.chdir("/")  # where all lies below
    assert task_code(f"{folder}/theirs.py:Mine").fingerprint == code
    assert code_files("digits") == {}


def test_changed_code_is_refused_by_name_with_both_ways_on(folder: Path) -> None:
    write(folder, mine=f"import helping\n{TASK}", helping="width = 1\n", unrelated="")
    storage = open_storage(folder / "results")
    write_task_code(storage, task_code("./mine.py:Mine"))

    def check(changed: bool = False) -> None:
        check_task_code(storage, "./mine.py:Mine", "fusion-search resume it", changed=changed)

    write(folder, unrelated="width = 2\n")
    check()
    write(folder, helping="width = 2\n")
    check(changed=True)
    with pytest.raises(
        ChangedCodeError,
        match=r"\(helping\.py\); put it back .* go on with: fusion-search resume it;",
    ):
        check()
    write(folder, helping="width = 1\n")
    check()
    file = folder / "results" / "code.json"
    file.write_text("[]")
    with pytest.raises(ValueError, match=r"code\.json is damaged"):
        check()
    file.unlink()
    check()  # nothing is known of its code
