"""Attention bottlenecks and low-rank fusion against the equations, written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fusion_search.models.couplings.bottleneck import AttentionBottleneck, attention
from fusion_search.models.couplings.kinds import COUPLINGS, find_coupling
from fusion_search.models.couplings.low_rank import LowRankFusion
from fusion_search.models.layout import Feature

FEATURES = {"map": Feature(5, (3, 4)), "wave": Feature(3, (7,)), "vector": Feature(4)}
STREAMS = {
    "map": torch.randn(2, 5, 3, 4),
    "wave": torch.randn(2, 3, 7),
    "vector": torch.randn(2, 4),
}


@pytest.mark.parametrize("kind", ["bottleneck", "low_rank"])
def test_a_fresh_one_changes_nothing_and_a_trained_one_only_what_is_gated(kind: str) -> None:
    coupling = find_coupling(kind)(FEATURES, ("map", "vector"))
    fresh = coupling(STREAMS, {})
    assert all(torch.equal(fresh[name], one) for name, one in STREAMS.items())
    with torch.no_grad():
        for parameter in coupling.parameters():
            parameter.normal_()
    trained = coupling(STREAMS, {})
    assert {name: one.shape for name, one in trained.items()} == {
        name: one.shape for name, one in STREAMS.items()
    }
    assert torch.equal(trained["wave"], STREAMS["wave"])
    assert not torch.equal(trained["map"], STREAMS["map"])
    # What the ungated stream says is heard.
    louder = coupling({**STREAMS, "wave": 2 * STREAMS["wave"]}, {})
    assert not torch.equal(louder["map"], trained["map"])


def test_low_rank_fusion_is_the_product_tensor_with_a_weight_of_low_rank() -> None:
    fusion = LowRankFusion(FEATURES, ("map",), rank=3, ratio=2)
    squeezed = {name: torch.randn(2, one.channels) for name, one in FEATURES.items()}
    with_one = [torch.cat([squeezed[name], torch.ones(2, 1)], 1) for name in FEATURES]
    tensor = torch.einsum("bi,bj,bk->bijk", *with_one)
    factors = [fusion.factors[name] for name in FEATURES]
    weight = torch.einsum("rih,rjh,rkh->ijkh", *factors)
    expected = torch.einsum("bijk,ijkh->bh", tensor, weight)
    torch.testing.assert_close(fusion.fused(squeezed), expected)


def test_attention_is_that_of_torch() -> None:
    queries, keys, values = torch.randn(2, 4, 8), torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    there = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    expected = nn.functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=there[:, None].expand(-1, 4, -1)
    )
    torch.testing.assert_close(attention(queries, keys, values, there), expected)


def test_bottleneck_tokens_do_not_read_padding() -> None:
    coupling = AttentionBottleneck(FEATURES, ("map",))
    with torch.no_grad():
        for parameter in coupling.parameters():
            parameter.normal_()
    longer = {**STREAMS, "wave": torch.cat([STREAMS["wave"], torch.randn(2, 3, 4)], 2)}
    mask = torch.tensor([[True] * 7 + [False] * 4] * 2)
    torch.testing.assert_close(
        coupling(longer, {"wave": mask})["map"], coupling(STREAMS, {})["map"]
    )


@pytest.mark.parametrize(("kind", "wrong"), [("bottleneck", "tokens"), ("low_rank", "rank")])
def test_settings_outside_their_range_are_refused(kind: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong} is 0; allowed: 1 or more"):
        COUPLINGS[kind](FEATURES, ("map",), **{wrong: 0})
