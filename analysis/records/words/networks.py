"""A network in words: where its streams meet, what couples them, and the settings that vary.

Trial names, tables and figures have these words alone, so that one network has one name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

DEPTH: Final = "fusion_depth"
"""A network setting: how many levels the streams run apart."""

PLAIN: Final = "plain"
"""A network in which nothing is placed: its streams meet as its task joins them by default."""

KIND_WORDS: Final = {
    "mmtm": "MMTM",
    "squeeze_excitation": "SE",
    "convolutional": "conv. MMTM",
    "both": "cross + residual",
}


def placed_words(
    sites: Mapping[str, Mapping[str, str]],
    options: Mapping[str, Mapping[str, Any]],
    end: str = "",
    streams: Sequence[str] = (),
) -> list[str]:
    """What is placed, each kind once with all sites and both directions that have it.

    Args:
        sites: site -> {"coupling" or "a>b": kind}.
        options: kind, or kind and direction ("cross a>b") -> {option: value}.
        end: how the streams end; "" where nothing is said.
        streams: those that the network has alone; none for all.

    Returns:
        Parts such as "cross between audio and image at level1 + level2"; none of a plain network.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for site, placed in sorted(sites.items(), key=lambda one: site_order(one[0])):
        for name, kind in placed.items():
            source, _, target = name.partition(">")
            both = placed.get(f"{target}>{source}") == kind
            way = f"between {' and '.join(sorted((source, target)))} " if both else ""
            own = found.setdefault((kind, way or connection_words(name)), [])
            if site not in own:
                own.append(site)
    words = [f"{kind_words(kind)} {way}at {' + '.join(own)}" for (kind, way), own in found.items()]
    words += [
        f"{key_words(key)} {name.replace('_', ' ')} {value_words(value)}"
        for key, given in options.items()
        for name, value in given.items()
    ]
    words += [kind_words(end)] if end else []
    return [*words, *([f"{' + '.join(streams)} alone"] if streams else [])]


def placed_parts(row: Mapping[str, Any]) -> list[str]:
    """The words of :func:`placed_words` of a row of records."""
    end, streams = row.get("end"), row.get("streams")
    return placed_words(
        placed(row),
        placed_options(row),
        end if isinstance(end, str) else "",
        streams.split("+") if isinstance(streams, str) and streams else (),
    )


def placement_words(row: Mapping[str, Any]) -> str:
    """Where the streams meet, what couples them before, and how they end, of a row of records."""
    said = ", ".join(placed_parts(row))
    if DEPTH not in row or "levels" not in row:
        return said or PLAIN
    name = depth_name(int(row[DEPTH]), int(row["levels"]))
    return f"{name}: {said}" if said else f"{PLAIN} {name}"


def setting_words(name: str, value: Any) -> str:
    """A setting as "learning rate 0.01"; one that is true or false by its name alone, when true.

    One that is empty is said, as "no weights".
    """
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else ""
    if _is_empty(value):
        return f"no {words}"
    return f"{words} {value_words(value)}"


def varied_words(text: Any) -> str:
    """A column of what trials differ in, as "width 4, learning rate 0.01"; empty for nothing."""
    return settings_text(json.loads(text)) if isinstance(text, str) else ""


def settings_text(found: Mapping[str, Any]) -> str:
    """Settings by their names, as :func:`setting_words` says each."""
    return ", ".join(filter(None, map(setting_words, found.keys(), found.values())))


def value_words(value: Any) -> str:
    """A value of a setting or option; of an empty one "none"."""
    if _is_empty(value):
        return "none"
    if isinstance(value, list | tuple):
        return " + ".join(map(value_words, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | tuple) and not value)


def placed(row: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What sits at the sites of a row's network: site -> {"coupling" or "a>b": kind}."""
    text = row.get("placement")
    found: dict[str, dict[str, str]] = json.loads(text) if isinstance(text, str) else {}
    return found


def placed_options(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of what is placed: kind, or kind and direction -> {option: value}."""
    text = row.get("placement_options")
    found: dict[str, dict[str, Any]] = json.loads(text) if isinstance(text, str) else {}
    return found


def site_order(site: str) -> list[tuple[str, int]]:
    """A sort key: level2 comes before level10."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", site)]


def kind_words(kind: str) -> str:
    """What is placed, in words; a coupling of one's own by its class."""
    return KIND_WORDS.get(kind, kind.rpartition(":")[2].replace("_", " "))


def key_words(key: str) -> str:
    """Whose options: of a kind, or of a kind and direction, in words."""
    kind, _, name = key.partition(" ")
    return f"{kind_words(kind)} {connection_words(name)}".strip()


def connection_words(name: str) -> str:
    """The streams of a connection, "from a to b "; empty for a coupling."""
    source, arrow, target = name.partition(">")
    return f"from {source} to {target} " if arrow else ""


def depth_name(depth: int, levels: int) -> str:
    """Where the streams meet, in the paper's words where it has some."""
    if depth == 0:
        return "initial-layer fusion"
    if depth == levels:
        return "fully-connected fusion"
    return "second-layer fusion" if depth == 1 else f"fusion depth {depth}"
