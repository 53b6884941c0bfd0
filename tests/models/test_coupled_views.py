"""Views of what levels give: tokens and their masks, frames in the batch, tuples, dictionaries."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from two_streams import EXAMPLE, drawn, network_of, ready

from fusion_search.datasets.batch import Examples
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.layout import (
    TOKENS,
    Feature,
    Placement,
    Site,
    View,
    entry_of,
    first_of,
    frames,
    masked_by,
)


@dataclass
class ModelOutput(OrderedDict[str, Any]):
    """As the models of transformers give: a dataclass and a dictionary of what is not None."""

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    attentions: Tensor | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            if getattr(self, one.name) is not None:
                self[one.name] = getattr(self, one.name)


class Text(nn.Module):
    """Of words and their mask, as transformers' models: layers give what ``gives`` makes."""

    def __init__(self, gives: str = "tensor") -> None:
        super().__init__()
        self.embed, self.layer = nn.Embedding(9, 6), Layer(gives)
        self.last = nn.Linear(6, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> ModelOutput:
        found = self.layer(self.embed(input_ids))
        values = self.last(found[0] if isinstance(found, tuple) else found)
        return ModelOutput(values, attentions=attention_mask)


class Layer(nn.Linear):
    def __init__(self, gives: str) -> None:
        super().__init__(6, 6)
        self.gives = gives

    def forward(self, values: Tensor) -> Any:
        found = super().forward(values).relu()
        return (found, "weights") if self.gives == "tuple" else found


def words(length: int, *lengths: int) -> dict[str, Tensor]:
    """Padded with words that mean something."""
    ids = (torch.arange(2 * length) % 8 + 1).view(2, length)
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}


def test_a_view_in_a_wrong_place_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"lies after .* of text; allowed: the name of a level"):
        Site("s", {"text": ("layer", TOKENS)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="site s has a view of 'txt'; allowed: text, video"):
        Site("s", {"text": "layer", "video": "a"}, views={"txt": TOKENS})
    with pytest.raises(ValueError, match="site s sees text by a str; allowed: a View"):
        Site("s", {"text": "layer"}, views={"text": "TOKENS"})  # type: ignore[dict-item]


def test_a_dropped_stream_takes_its_view_along() -> None:
    streams = {"text": Text(), **ready()}
    sites = [Site("s", {"text": "layer", "video": "a", "emg": "x"}, views={"text": TOKENS})]
    placement = Placement({"s": {"coupling": "mmtm"}}, streams=("video", "emg"))
    example = {"text": words(5, 5, 3), **EXAMPLE}
    network = network_of(streams, placement, sites=sites, example=example)
    assert network(**EXAMPLE).shape[0] == 2


def test_a_head_that_takes_no_masks_is_said_in_a_sentence() -> None:
    class Plain(nn.Module):
        def forward(self, ends: Any) -> Tensor:
            return torch.zeros(2, 1)

    streams, example = {"text": Text()}, {"text": words(5, 5, 3)}
    view = entry_of("last_hidden_state", TOKENS)
    CoupledNetwork(streams, [], Plain(), example, ends={"text": view})
    message = r"the head Plain takes the ends alone, .* of text has a mask; allowed: forward\(self,"
    with pytest.raises(ValueError, match=message):
        CoupledNetwork(streams, [], Plain(), example, ends={"text": TEXT_END})


TEXT_END = masked_by("attention_mask", entry_of("last_hidden_state", TOKENS))


def with_text(kind: str, view: View, gives: str = "tensor", **more: Any) -> Any:
    example = Examples(text=words(5, 5, 3), video=EXAMPLE["video"])
    example.other = {"text": words(7, 7, 7), "video": EXAMPLE["video"]}
    torch.manual_seed(1)
    streams = {"text": Text(gives), "video": ready()["video"]}
    name = "text>video" if kind == "transfer" else "coupling"
    sites = [Site("s", {"text": "layer", "video": "a"}, views={"text": view})]
    placement = Placement({"s": {name: kind}})
    more = {"example": example, "ends": {"text": TEXT_END}, **more}
    return drawn(network_of(streams, placement, sites=sites, **more)).eval()


@pytest.mark.parametrize(
    "kind", ["mmtm", "squeeze_excitation", "bottleneck", "low_rank", "transfer"]
)
def test_padding_changes_no_answer(kind: str) -> None:
    network = with_text(kind, masked_by("attention_mask", TOKENS))
    short, video = words(5, 5, 3), EXAMPLE["video"]
    answer = network(text=short, video=video)
    longer = words(8, 5, 3)
    longer["input_ids"][:, :5] = short["input_ids"]
    torch.testing.assert_close(network(text=longer, video=video), answer)
    other = {**short, "input_ids": short["input_ids"].clone()}
    other["input_ids"][0, 4] = 8  # a word of the first, beyond the second
    changed = (network(text=other, video=video) - answer).abs().amax(1)
    assert changed[0] > 1e-4
    assert changed[1] == 0


def test_a_length_that_varies_is_no_size() -> None:
    (_, features), *_ = with_text("mmtm", masked_by("attention_mask", TOKENS)).layout.sites
    assert features == {"text": Feature(6, (None,)), "video": Feature(6, (8, 8))}


def test_what_a_stream_gives_beside_its_tokens_stays() -> None:
    plain = with_text("none", TOKENS)
    tuples = with_text("none", first_of(TOKENS), "tuple")
    given = {"text": words(5, 5, 3), "video": EXAMPLE["video"]}
    assert torch.equal(plain(**given), tuples(**given))
    view = first_of(TOKENS)
    values, new = torch.randn(2, 5, 6), torch.randn(2, 6, 5)
    assert view.see((values, "weights")).shape == (2, 6, 5)
    changed, beside = view.put((values, "weights"), new)
    assert torch.equal(changed, new.transpose(1, 2))
    assert beside == "weights"
    entry = entry_of("last_hidden_state", TOKENS)
    given = ModelOutput(values, attentions=values)
    put = entry.put(given, new)
    assert isinstance(put, ModelOutput)
    assert torch.equal(put.last_hidden_state, new.transpose(1, 2))
    assert put.attentions is values
    assert put.pooler_output is None
    assert given.last_hidden_state is values


def test_a_view_that_is_missing_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"site s: stream text gives a tuple, not a tensor \[B, cha"
    ):
        with_text("none", TOKENS, "tuple", example={"text": words(5, 5, 3), **_VIDEO})
    with pytest.raises(ValueError, match=r"the end of stream text gives a ModelOutput"):
        with_text("none", TOKENS, ends={})
    with pytest.raises(
        ValueError, match=r"stream text has shape \[2, 5, 6\] in one batch and \[2, 7"
    ):
        with_text("none", View())
    with pytest.raises(ValueError, match=r"positions \[5\], and its view's mask covers \[2, 5\]"):
        with_text("mmtm", View(TOKENS.see, TOKENS.put, lambda given: torch.ones(2, 2, 5)))


_VIDEO = {"video": EXAMPLE["video"]}


class Frames(nn.Module):
    """Runs a clip's frames one by one, [B, C, T, H, W], and takes their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)

    def forward(self, clip: Tensor) -> Tensor:
        values = self.second(self.first(clip.transpose(1, 2).flatten(0, 1)).relu())
        return values.unflatten(0, (len(clip), -1)).mean(1)


def test_frames_in_the_batch_are_one_clip() -> None:
    clip = torch.randn(2, 3, 4, 8, 8)
    sites = [Site("s", {"clip": "first", "video": "a"}, views={"clip": frames(4)})]
    network = drawn(
        network_of(
            {"clip": Frames(), "video": ready()["video"]},
            Placement({"s": {"coupling": "mmtm"}}),
            sites=sites,
            example={"clip": clip, **_VIDEO},
        )
    )
    assert network.layout.sites[0][1]["clip"] == Feature(6, (4, 4, 4))
    # One gate for a whole clip, and none from its neighbour.
    stream: Any = network.streams["clip"]
    maps = stream.first(clip.transpose(1, 2).flatten(0, 1)).view(2, 4, 6, 4, 4)
    assert torch.equal(frames(4).see(maps.flatten(0, 1)), maps.transpose(1, 2))
    video = network.streams["video"].a(EXAMPLE["video"])
    met = network.exchanges["s"].coupling({"clip": maps.transpose(1, 2), "video": video}, {})
    second = stream.second(met["clip"].transpose(1, 2).flatten(0, 1).relu())
    end = second.unflatten(0, (2, 4)).mean(1)
    ends = {"clip": end, "video": network.streams["video"].b(met["video"])}
    torch.testing.assert_close(network(clip=clip, **_VIDEO), network.head(ends))
