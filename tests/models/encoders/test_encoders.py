"""Encoders of one stream: sizes, padding, and torchvision's networks."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from fusion_search.models.encoders.backbones import Backbone, clip_view, map_sizes, weights_file
from fusion_search.models.encoders.small import (
    ConvolutionalEncoder,
    DenseEncoder,
    LevelMask,
    time_mask,
)


def torchvision_there() -> bool:
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # RuntimeError: built against another torch
        return False
    return True


needs_torchvision = pytest.mark.skipif(not torchvision_there(), reason="no torchvision")


def randomised(network: nn.Module) -> nn.Module:
    """Biases and normalisations too, so that nothing is zero by chance."""
    torch.manual_seed(0)
    for one in network.parameters():
        nn.init.normal_(one, std=0.3)
    return network.eval()


@pytest.mark.parametrize("size", [(), (6, 5)])
def test_padding_changes_no_answer(size: tuple[int, ...]) -> None:
    network = randomised(ConvolutionalEncoder(2, 1 + len(size), 4, 3))
    values = torch.randn(1, 2, 11, *size)
    padded = torch.cat([values, torch.zeros(1, 2, 9, *size)], dim=2)
    lengths = torch.tensor([11])
    torch.testing.assert_close(network(padded, lengths), network(values, lengths))


def test_the_mask_of_a_level_is_where_its_output_is_not_zero() -> None:
    network = randomised(ConvolutionalEncoder(2, 1, 4, 3))
    seen: dict[str, torch.Tensor] = {}
    values, lengths = torch.randn(3, 2, 20), torch.tensor([20, 7, 1])
    network.get_submodule("level3").register_forward_pre_hook(
        lambda module, given: seen.update(level2=given[0])
    )
    network(values, lengths)
    mask = LevelMask(2)({"values": values, "lengths": lengths})
    assert torch.equal(mask, seen["level2"].abs().sum(1) > 0)
    assert mask.sum(1).tolist() == [5, 2, 1]


def test_a_mask_says_which_steps_are_there() -> None:
    mask = time_mask(torch.tensor([2, 0]), (3, 2))
    assert mask.tolist() == [[[True] * 2, [True] * 2, [False] * 2], [[False] * 2] * 3]


def test_levels_double_their_channels_and_halve_their_sizes() -> None:
    network = ConvolutionalEncoder(3, 2, 8, 3)
    shapes = []
    for name in network.names:
        network.get_submodule(name).register_forward_hook(
            lambda module, given, output: shapes.append(tuple(output.shape[1:]))
        )
    assert network(torch.zeros(2, 3, 20, 13)).shape == (2, network.channels)
    assert shapes == [(8, 10, 7), (16, 5, 4), (32, 3, 2)]
    assert DenseEncoder(5, 8, 3)(torch.zeros(2, 5)).shape == (2, 32)


@needs_torchvision
def test_a_backbone_takes_images_and_clips_and_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision import models

    whole = models.get_model("resnet18", weights=None)
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    backbone = Backbone("resnet18", tmp_path / "weights.pt", frozen=True).eval()
    assert backbone.channels == 512
    assert not any(one.requires_grad for one in backbone.parameters())
    torch.testing.assert_close(backbone.network.conv1.weight, whole.conv1.weight)
    clip = torch.rand(1, 3, 4, 32, 32)
    each = backbone(clip[0].movedim(1, 0))
    found = backbone(clip, torch.tensor([3]))
    torch.testing.assert_close(found[0], each[:3].mean(0))
    assert map_sizes(backbone, ("layer3", "layer4"), (32, 64)) == {
        "layer3": (2, 4),
        "layer4": (1, 2),
    }
    (tmp_path / "weights.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"weights.pt"):
        Backbone("resnet18", tmp_path / "weights.pt", frozen=False)


def test_a_level_of_a_clips_backbone_is_seen_frame_by_frame_and_masked_by_its_length() -> None:
    view = clip_view(3, (2, 4))
    output = torch.randn(2 * 3, 5, 2, 4, generator=torch.Generator().manual_seed(0))
    seen = view.see(output)
    assert seen.shape == (2, 5, 3, 2, 4)
    for clip in range(2):
        for frame in range(3):
            assert torch.equal(seen[clip, :, frame], output[3 * clip + frame])
    assert torch.equal(view.put(output, seen), output)
    assert view.mask is not None
    given = {"values": torch.zeros(2, 3, 3, 8, 16), "lengths": torch.tensor([1, 3])}
    there = view.mask(given)
    assert there.shape == (2, 3, 2, 4)
    for clip, length in enumerate((1, 3)):
        for frame in range(3):
            assert bool(there[clip, frame].all()) == bool(there[clip, frame].any())
            assert bool(there[clip, frame].all()) == (frame < length)


@needs_torchvision
@pytest.mark.parametrize(
    ("name", "parameters", "channels"),
    [("resnet50", 25_557_032, 2048), ("vgg19", 143_667_240, 4096)],
)
def test_a_backbone_is_torchvisions_without_its_layer_of_the_classes(
    name: str, parameters: int, channels: int
) -> None:
    with torch.device("meta"):
        backbone = Backbone(name, None, frozen=False)
        assert backbone(torch.rand(2, 3, 64, 64)).shape == (2, channels)
    assert backbone.channels == channels
    own = sum(one.numel() for one in backbone.parameters())
    assert own + (channels + 1) * 1000 == parameters


@needs_torchvision
def test_weights_are_random_only_when_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="weights of vgg19 are not named; allowed: default"):
        weights_file("vgg19", "")
    assert weights_file("vgg19", "random") is None
    assert weights_file("vgg19", "own.pt", tmp_path) == tmp_path / "own.pt"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*given: object, **named: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    kept = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"  # as torchvision publishes it
    with pytest.raises(ValueError, match=r"cannot be downloaded .*; put resnet18-f37072fd.pth"):
        weights_file("resnet18", "default")
    kept.write_bytes(b"here")
    assert weights_file("resnet18", "default") == kept
