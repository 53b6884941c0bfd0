"""While one process drives a search, every verb that would write to it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage import NAME, declared, fingerprint, space_folder
from drivers import write_driver

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.commands.command_line import main
from fusion_search.search.declaration.configuration import to_yaml
from fusion_search.search.python import launching
from fusion_search.search.records.claim import DrivenError, claimed
from fusion_search.search.records.identity import write_identity

CONFIRMATION = f"{NAME}-confirmation"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A search over a space whose trials have ended, and that nobody drives."""
    storage = space_folder(tmp_path)
    storage.remove("driver.json")
    write_identity(storage)
    return storage


def words_of(verb: str, parent: Path) -> list[str]:
    if verb != "launch":
        return [verb, NAME, "--storage", str(parent)]
    config = parent / "declared.yaml"
    config.write_text(to_yaml(declared(parent, searcher={"samples": 2})))
    return [verb, str(config)]


@pytest.mark.parametrize(
    ("verb", "driven"),
    [
        ("launch", NAME),
        ("resume", NAME),
        ("retry", NAME),
        ("confirm", NAME),
        ("confirm", CONFIRMATION),
        ("resume", CONFIRMATION),
        ("sync-mlflow", NAME),
    ],
)
def test_what_another_process_drives_no_verb_writes_to(
    verb: str,
    driven: str,
    storage: Storage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = words_of(verb, tmp_path)
    if driven == CONFIRMATION and verb == "resume":
        content = storage.read("specification.yaml").replace(NAME.encode(), driven.encode(), 1)
        storage.parent.write(content, driven, "specification.yaml")
        words[1] = driven
    write_driver(storage.parent.below(driven), host="node-3", pid=4711)
    if verb == "sync-mlflow":
        words += ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    before = fingerprint(tmp_path)
    assert main(words) == 2
    told = capsys.readouterr()
    at = f"--storage {tmp_path}"
    assert told.out == ""
    assert told.err.startswith(
        f"error: search '{driven}' is being run by process 4711 on node-3 (launch since "
    )
    assert told.err.endswith(
        f"; wait, follow it with `fusion-search attach {driven} {at}`, or stop it with "
        f"`fusion-search stop {driven} {at}`\n"
    )
    assert told.err.count("\n") == 1
    assert fingerprint(tmp_path) == before


def test_a_notebook_is_told_the_same(storage: Storage, tmp_path: Path) -> None:
    write_driver(storage, host="node-3", pid=4711)
    before = fingerprint(tmp_path)
    with pytest.raises(DrivenError, match="is being run by process 4711 on node-3"):
        launching.launch(declared_as_mapping(tmp_path))
    with pytest.raises(DrivenError, match="is being run by process 4711 on node-3"):
        launching.resume(tmp_path / NAME)
    assert fingerprint(tmp_path) == before


def declared_as_mapping(parent: Path) -> dict[str, object]:
    return {"name": NAME, "task": "digits", "storage": str(parent), "searcher": {"samples": 2}}


@pytest.mark.parametrize("verb", ["resume", "retry", "confirm", "sync-mlflow"])
def test_this_process_does_not_write_to_what_it_drives_either(
    verb: str, storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A notebook in which a search runs in a thread."""
    words = words_of(verb, tmp_path)
    if verb == "sync-mlflow":
        words += ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    with claimed(open_storage(storage.location), NAME):
        before = fingerprint(tmp_path)
        assert main(words) == 2
        assert capsys.readouterr().err == (
            f"error: search '{NAME}' is being run by this process already; wait until that has "
            "ended\n"
        )
        assert fingerprint(tmp_path) == before
