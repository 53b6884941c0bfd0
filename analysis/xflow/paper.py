"""What the paper prints: Cangea, Velickovic and Lio, "XFlow: Cross-modal Deep Neural Networks for
Audiovisual Classification", Tables III to VI.

Its accuracies are optimistic: of every fold the highest test accuracy over all epochs (on AVletters
and Digits of five runs), and for XFlow the best of three variants, chosen on the same test folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BASELINE: Final = "baseline"
WIDENED: Final = "widened baseline"
CROSS: Final = "crosses only"
RESIDUAL: Final = "residuals only"
BOTH: Final = "both"
XFLOW: Final = (BOTH, RESIDUAL, CROSS)
"""The paper's variants of XFlow."""

VARIANTS: Final = (BASELINE, WIDENED, *XFLOW)
"""Those, and without connections; widened, as large as XFlow, which the paper has not."""

FORMS: Final = {"averaged": "CNN x MLP", "sequence": "{CNN x MLP}-LSTM"}
"""What a trial's column ``form`` makes of the network."""

FOLDS: Final = "folds"


@dataclass(frozen=True)
class Printed:
    """Of one network on one data set; accuracies in per cent.

    Attributes:
        baseline: accuracy of the network without connections.
        xflow: of XFlow: the best of its variants.
        variants: of each of ``XFLOW``; empty where only the best is printed.
        p: of the paired t-test over folds, XFlow against its baseline.
        rivals: other networks that the paper compares with.
        parameters: trainable ones of the baseline.
    """

    baseline: float
    xflow: float
    variants: Mapping[str, float] = field(default_factory=dict)
    p: float | None = None
    rivals: Mapping[str, float] = field(default_factory=dict)
    parameters: int | None = None


def _variants(*accuracies: float) -> Mapping[str, float]:
    return dict(zip(XFLOW, accuracies, strict=True))


def _rival(accuracy: float) -> Mapping[str, float]:
    return {"deep transfer network": accuracy}


_CNN, _LSTM = FORMS
PRINTED: Final[Mapping[tuple[str, str, str], Printed]] = {
    ("AVletters", _CNN, FOLDS): Printed(
        73.1, 74.0, _variants(74.0, 73.8, 70.6), 0.65, _rival(35.0), 2_740_512
    ),
    ("Digits", _CNN, FOLDS): Printed(
        78.3, 87.7, _variants(86.7, 87.7, 80.1), 0.002, _rival(72.9), 5_664_054
    ),
    ("CUAVE", _CNN, FOLDS): Printed(90.3, 93.5, _variants(93.5, 92.0, 91.9), 0.05, _rival(87.9)),
    # Its printed count, 353,650, has the 156 running statistics in it.
    ("AVletters", _LSTM, FOLDS): Printed(
        78.1, 89.6, _variants(85.6, 89.6, 86.2), 0.02, _rival(35.0), 353_494
    ),
    ("Digits", _LSTM, FOLDS): Printed(
        88.7, 96.8, _variants(93.0, 96.8, 94.1), 0.0012, _rival(72.9)
    ),
    ("CUAVE", _LSTM, FOLDS): Printed(96.9, 99.3, _variants(98.8, 99.3, 97.7), 0.01, _rival(87.9)),
    # Hold-out, against CorrRNN.
    ("AVletters", _LSTM, "takes"): Printed(91.5, 94.6, rivals={"CorrRNN": 83.4}),
    ("CUAVE", _LSTM, "halves"): Printed(96.1, 96.9, rivals={"CorrRNN": 95.9}),
}
"""By data set, column ``form`` and column ``protocol``."""
