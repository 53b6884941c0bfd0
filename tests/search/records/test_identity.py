"""A search is told by its name and its id: copied, deleted, and called the same again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from descriptions import write_description

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import SPECIFICATION_FILE
from fusion_search.search.commands import launching
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import build_search, to_yaml
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.records.identity import (
    IDENTITY_FILE,
    kept_identity,
    read_identity,
    write_identity,
)
from fusion_search.search.running.confirmation import is_confirmation_of


def declared(folder: Path, top: int = 2) -> SearchSpecification:
    return build_search(
        {
            "name": "a",
            "task": "digits",
            "storage": str(folder),
            "network": {"units": [2, 4]},
            "searcher": {"name": "random"},
            "confirmation": {"top": top},
            "mlflow": {"enabled": False},
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the searches a, that has ended, and a-confirmation, that has not."""

    def ended(*_: Any, **__: Any) -> int:
        return 0

    # What a search does after its last trial, and what is left of a confirmation.
    monkeypatch.setattr(launching, "run_space", ended)
    monkeypatch.setattr(launching, "run_listed", ended)
    monkeypatch.setattr(launching, "say_confirmed", lambda *_: None)
    search = declared(tmp_path)
    for name, confirms in (("a", None), ("a-confirmation", "a")):
        storage = open_storage(tmp_path).below(name)
        storage.write(to_yaml(search).encode(), SPECIFICATION_FILE)
        write_description(storage)
        own = open_storage(tmp_path).below(confirms) if confirms else None
        write_identity(storage, kept_identity(own).search_id if own else None)
    return tmp_path


def resume(folder: Path, name: str) -> int:
    return main(["resume", name, "--storage", str(folder)])


def test_an_id_is_drawn_once(tmp_path: Path) -> None:
    one, two = (open_storage(tmp_path / name) for name in ("one", "two"))
    assert read_identity(one) is None
    own = kept_identity(one)
    assert kept_identity(one) == read_identity(one) == own
    assert write_identity(two).search_id != own.search_id
    assert write_identity(two, own.search_id).confirms == own.search_id
    assert is_confirmation_of(two, own.search_id)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"search_id": "a"}', '{"search_id": 5}', '{"confirms": null}']
)
def test_a_damaged_identity_is_named(content: str, tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.write(content.encode(), IDENTITY_FILE)
    with pytest.raises(ValueError, match=r"identity\.json is damaged"):
        kept_identity(storage)


def test_a_copy_follows_the_confirmation_that_was_copied_with_it(folder: Path) -> None:
    for name in ("a", "a-confirmation"):
        shutil.copytree(folder / name, folder / f"b{name[1:]}")
    assert [resume(folder, name) for name in ("a", "b")] == [0, 0]
    ids = [read_identity(open_storage(folder / name)) for name in ("a", "b")]
    assert ids[0] == ids[1]


def launch(folder: Path, capsys: pytest.CaptureFixture[str], top: int) -> tuple[int, str]:
    config = folder / "config.yaml"
    config.write_text(to_yaml(declared(folder, top)))
    code = main(["launch", str(config)])
    return code, capsys.readouterr().err


def test_a_copy_or_a_namesake_does_not_follow_anothers_confirmation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "a-confirmation", folder / "b-confirmation")  # of an earlier b
    write_identity(open_storage(folder / "b-confirmation"), "0" * 32)
    shutil.copytree(folder / "a", folder / "b")
    sentence = f"error: {folder}/b-confirmation confirms another search than this 'b'"
    for words in (["resume", "b"], ["retry", "b"], ["confirm", "b"]):
        assert main([*words, "--storage", str(folder)]) == 2
        assert capsys.readouterr().err.startswith(sentence)
    assert resume(folder, "a") == 0


def test_a_name_that_is_used_again_is_another_search(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(search: Any, storage: Storage, *_: Any, **__: Any) -> int:
        kept_identity(storage)  # as a launch does with its specification
        return 0

    monkeypatch.setattr(launching, "run_space", begin)
    before = read_identity(open_storage(folder / "a"))
    (folder / "a" / SPECIFICATION_FILE).unlink()  # deleted, but not all of it
    code, error = launch(folder, capsys, top=2)
    assert code == 2
    assert f"{folder}/a-confirmation confirms another search than this 'a'" in error
    assert launch(folder, capsys, top=0)[0] == 0
    after = read_identity(open_storage(folder / "a"))
    assert after is not None
    assert after != before
    (folder / "a" / SPECIFICATION_FILE).write_text(to_yaml(declared(folder, 0)))
    assert main(["confirm", "a", "--storage", str(folder)]) == 2
    assert "confirms another search" in capsys.readouterr().err
