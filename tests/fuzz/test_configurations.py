"""Any value in any field: a valid, frozen search that survives YAML, or one sentence."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import yaml
from declared import PLACES, VALUES, Place, with_value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion_search.analysis.records import plain_data
from fusion_search.search.declaration.configuration import (
    build_search,
    is_name,
    parse_yaml,
    to_yaml,
)
from fusion_search.search.trials.fields import ConfigurationError

SHORT = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=20_000)
# What is said of a field by another name: a subset of streams and an end, of a placement.
SAID_OF: dict[str, list[str]] = {}


def check_sentence(error: BaseException, *words: str) -> None:
    message = str(error)
    assert message.isprintable(), message
    assert len(message) < 1500, message
    for word in words:
        names = "|".join(re.escape(one) for one in (word, *SAID_OF.get(word, ())))
        assert re.search(rf"(?<![A-Za-z])({names})(?![A-Za-z])", message), message


def check(raw: dict[str, Any], *words: str) -> bool:
    """Whether the configuration is valid; an error must be one sentence that has these words."""
    try:
        search = build_search(raw)
    except ConfigurationError as error:
        check_sentence(error, *words)
        return False
    assert build_search(parse_yaml(to_yaml(search), "again")) == search
    with pytest.raises(dataclasses.FrozenInstanceError):
        search.name = "y"  # type: ignore[misc]
    return True


def check_place(place: Place, value: Any) -> None:
    raw = with_value(place, value)
    # Through YAML's text too, unless that needs a tag, which is refused before the field is read.
    text = yaml.safe_dump(raw)
    check(raw if "!!" in text or "? " in text else parse_yaml(text, "test"), str(place[1][-1]))


# What YAML, one version or another, takes for no text.
LIKE_OTHERS = (
    *(
        "1e5",
        "25921e05",
        "2025-11-25",
        "2025-11-25 10:00:00",
        "2026-13-45",
        "no",
        "on",
        "y",
        "True",
    ),
    *("010", "0o10", "1:30", "1:30.5", "0x1F", "0b11", ".5", "1.", "1.e3", "+1", "-1", "1_000"),
    *("~", "null", "=", "<<", ".inf", ".NaN", "1e400", "-", "---", "a: b", "a #b", "#", "[", "{a"),
    *("'", '"', "|", ">", "%", "@", "`", "&a", "*a", "!x", "? a", "- a", " a", "a ", "a  b", ""),
)
TEXTS = st.one_of(
    st.sampled_from(LIKE_OTHERS),
    st.from_regex(r"[-+.:_0-9a-fA-FxXoO]{1,9}", fullmatch=True),
    st.text(max_size=200),
).filter(str.isprintable)


@given(text=TEXTS)
@settings(SHORT, max_examples=200)
def test_any_text_is_read_as_it_was_written(text: str) -> None:
    plain = {"a": text, "b": [text], f"b{text}": {text: 1}}
    assert plain_data.parse_yaml(plain_data.to_yaml(plain), "again") == plain


@given(texts=st.lists(TEXTS.filter(bool), min_size=3, max_size=3))
@settings(SHORT, max_examples=60)
def test_a_search_is_read_as_it_was_written(texts: list[str]) -> None:
    raw = {
        "name": next(filter(is_name, texts), "x"),
        "task": "digits",
        "storage": texts[0],
        "mlflow": {"tracking_uri": texts[1]},
        "searcher": {"name": "tpe", "warm_start": [texts[2]]},
    }
    assert check(raw)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]}-{place[1]}")
def test_every_field_is_reached(place: Place) -> None:
    """A value of no type at all is refused everywhere, by the field's name."""
    assert not check(with_value(place, {"!": None}), str(place[1][-1]))


@given(place=st.sampled_from(PLACES), value=VALUES)
@SHORT
def test_any_value_in_any_field(place: Place, value: Any) -> None:
    check_place(place, value)


@pytest.mark.slow
@given(place=st.sampled_from(PLACES), value=VALUES)
@LONG
def test_any_value_in_any_field_at_length(place: Place, value: Any) -> None:
    check_place(place, value)
