"""What connections give while a network runs, against what is done with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from two_streams import EXAMPLE, SITES, block1, block2

from fusion_search.datasets.batch import Batch
from fusion_search.models.coupled.heads import Concatenate
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.coupled.observed import observed
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.base import Task


def network(**first: str) -> CoupledNetwork:
    torch.manual_seed(0)
    streams: dict[str, Any] = {
        "video": {
            "a": lambda one: block2(one.channels, 6),
            "b": lambda one: block2(one.channels, 8),
        },
        "emg": {
            "x": lambda one: block1(one.channels, 6),
            "y": lambda one: block1(one.channels, 8),
        },
    }
    placed = Placement({"s1": {"video>emg": "both", "emg>video": "both"}, "s2": first})
    made = CoupledNetwork(streams, SITES, lambda ends: Concatenate(ends, 2), EXAMPLE, placed)
    return made.eval()


def test_what_is_kept_is_what_is_added_and_concatenated() -> None:
    made = network(**{"video>emg": "transfer"})
    merged: dict[str, tuple[Tensor, Tensor]] = {}

    def beside(module: nn.Module, given: Any, result: Any) -> None:
        before, after = given[0], result
        merged["s1"] = (before["video"], after["video"])

    made.exchanges["s1"].register_forward_hook(beside)
    with torch.no_grad(), observed(made) as found:
        made(**EXAMPLE)
    assert set(found) == {
        *("s1.video>emg.residual", "s1.emg>video.residual"),
        *("s1.video>emg.cross", "s1.emg>video.cross"),
        "s2.video>emg.transfer",
    }
    before, after = merged["s1"]
    together = torch.cat([before + found["s1.emg>video.residual"], found["s1.emg>video.cross"]], 1)
    torch.testing.assert_close(after, together, rtol=0, atol=0)
    # To a sequence a connection gives the same at every step: a vector.
    assert found["s1.video>emg.residual"].shape == (2, 6)
    assert found["s2.video>emg.transfer"].shape == (2, 8)


def test_any_task_shows_its_outputs_and_connections() -> None:
    made = network(**{"emg>video": "transfer"})
    one = {name: values[:1] for name, values in EXAMPLE.items()}
    with torch.no_grad():
        found = Task().probe(made, Batch(one))
        expected = made(**one)
    assert {name: list(values.shape) for name, values in found.items()} == {
        "output": [1, 2],
        "s1.video>emg.residual": [1, 6],
        "s1.video>emg.cross": [1, 6],
        "s1.emg>video.residual": [1, 6, 8, 8],
        "s1.emg>video.cross": [1, 6, 8, 8],
        "s2.emg>video.transfer": [1, 8],
    }
    assert torch.equal(found["output"], expected)


def test_nothing_is_kept_afterwards_nor_of_a_network_without_sites() -> None:
    made = network()
    with torch.no_grad(), observed(made) as found:
        made(**EXAMPLE)
    kept = {name: one.clone() for name, one in found.items()}
    with torch.no_grad():
        made(**{name: one + 1 for name, one in EXAMPLE.items()})
    assert all(torch.equal(one, kept[name]) for name, one in found.items())
    plain = nn.Linear(2, 1)
    with observed(plain) as nothing:
        plain(torch.zeros(1, 2))
    assert nothing == {}
