"""The claims of the early-fusion paper and what they came to: a table, and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import pandas as pd

from fusion_search.analysis.early_fusion.accuracies import Accuracies
from fusion_search.analysis.early_fusion.alone import claim_5
from fusion_search.analysis.early_fusion.described import claim_4, claim_8, without
from fusion_search.analysis.early_fusion.late import claim_1, claim_2, claim_3, claim_7, literal
from fusion_search.analysis.early_fusion.parts import Part
from fusion_search.analysis.verdicts import whole

CLAIMS: Final = {
    1: "Initial fusion is at least as accurate as fully-connected fusion at all conditions, "
    "trained at (0.5, 0.25)",
    2: "It beats second-layer fusion at most conditions, but where audio is far below its train "
    "SNR and the image is relatively clean",
    3: "It beats fully-connected fusion at other train pairs, too",
    4: "The 16 maps depend on the image or the sound by quadrants",
    5: "Networks of one sense: the lower the train SNR, the worse, on cleaner data, too",
    6: "Before the sound the answer is the image's, and a noisy one is confused with one class",
    7: "Initial fusion is more robust to SNRs above the train SNRs, audio above all",
    8: "At (0.5, 0.25) both senses contribute alike",
}
DESCRIBED: Final = "described"
RULE: Final = (
    "The rules are those of docs/campaign.md, written before the first record. Held and refuted "
    "rest on six seeds or more; intervals are 95 % t intervals over seeds."
)


def compute_claims(found: Accuracies, before_sound: Part) -> pd.DataFrame:
    """Every part of every claim.

    Args:
        found: what all of them but the sixth are of.
        before_sound: the sixth, which is of a probe.

    Returns:
        A row each: ``claim`` (its number; 0 beside the claims), ``what``, ``verdict``, ``seeds``,
        ``numbers``, and ``value``, ``low``, ``high``, ``p`` of what decides, where one thing does.
    """
    parts = [
        *(claim_1(found), *claim_2(found), *claim_3(found), *claim_4(found), *claim_5(found)),
        *(before_sound, *claim_7(found), *claim_8(found), *without(found), *literal(found)),
    ]
    return pd.DataFrame([asdict(one) for one in parts])


def verdict_of(table: pd.DataFrame, claim: int) -> str:
    """A claim's, from its parts."""
    verdicts = list(table.loc[table["claim"] == claim, "verdict"])
    return whole(verdicts) if all(verdicts) else DESCRIBED


def claims_text(name: str, table: pd.DataFrame, notes: Sequence[str]) -> str:
    """All claims, as Markdown.

    Args:
        name: of the search.
        table: as :func:`compute_claims` gives it.
        notes: sentences for the end.
    """
    parts = [f"# {name}: the claims of the early-fusion paper"]
    for claim, words in CLAIMS.items():
        own = table[table["claim"] == claim]
        parts.append(f"## {claim}. {words}: {verdict_of(table, claim)}")
        parts.append(_lines(own))
    parts += ["## Beside the claims", _lines(table[table["claim"] == 0])]
    return "\n\n".join([*parts, "## Notes", RULE, *notes]) + "\n"


def _lines(table: pd.DataFrame) -> str:
    return "\n".join(
        f"- {what}{f': **{verdict}**' if verdict else ''}: {numbers}."
        for what, verdict, numbers in zip(
            table["what"], table["verdict"], table["numbers"], strict=True
        )
    )
