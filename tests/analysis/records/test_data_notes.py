"""Notes of trials on their data, said together: each thing once."""

from __future__ import annotations

import pytest

from fusion_search.analysis.records.words.data import data_sentence, notes_words

VIEWS = "rendered solids, NOT photographs"
CUT = "random folds over persons"


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ([], ""),
        ([VIEWS, VIEWS], VIEWS),
        (
            [f"{VIEWS}; 6 folds by object; small", f"{VIEWS}; 6 folds at random; small"],
            f"{VIEWS}; small; of some trials 6 folds at random; of others 6 folds by object",
        ),
        ([VIEWS, f"{VIEWS}; rgb through b0"], f"{VIEWS}; of some trials rgb through b0"),
        (["a", "b", "c"], "of some trials a; of others b; of others c"),
        ([f"a; fold {one} of 6 {CUT}" for one in (1, 0)], f"a; folds 0, 1 of 6 {CUT}"),
        ([f"a; fold {one} of 12 {CUT}" for one in (10, 9, 11)], f"a; folds 9 to 11 of 12 {CUT}"),
        ([f"fold {one} of 6 {CUT}; a" for one in (5, 5)], f"fold 5 of 6 {CUT}; a"),
        (
            [f"fold 0 of 6 {CUT}", f"fold 1 of 6 {CUT}", "fold 0 of 3 others"],
            f"of some trials fold 0 of 3 others; of others folds 0, 1 of 6 {CUT}",
        ),
    ],
)
def test_what_notes_share_is_said_once(notes: list[str], words: str) -> None:
    assert notes_words(notes) == words
    assert data_sentence(notes) == f"Data: {words or 'not recorded'}."
