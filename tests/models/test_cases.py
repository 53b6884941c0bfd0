"""Many cases that share images and sounds: the same answers, and nothing computed twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fusion_search.models.cases import Stream
from fusion_search.models.convlstm import set_engine
from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.gates import Arithmetic, advance
from fusion_search.models.placement import COUPLINGS, PLAIN, EarlyFusionPlacement

STEPS = 9
SILENT = torch.tensor([5, 0, 8, 5, 9])
PLACEMENTS = {
    "plain": PLAIN,
    "gate_audio": EarlyFusionPlacement(fusion="gate_audio"),
    "gate_image": EarlyFusionPlacement(fusion="gate_image"),
    **{kind: EarlyFusionPlacement(couplings=("none", kind)) for kind in COUPLINGS[1:]},
    "first level": EarlyFusionPlacement(couplings=("mmtm", "none")),
    "to_audio": EarlyFusionPlacement(to_audio=("cross", "residual")),
    "to_image": EarlyFusionPlacement(to_image=("both", "none"), fusion="gate_image"),
    "all": EarlyFusionPlacement(
        couplings=("squeeze_excitation", "mmtm"),
        to_audio=("none", "both"),
        to_image=("residual", "cross"),
        fusion="gate_audio",
    ),
}


def build(
    levels: int, depth: int, placement: EarlyFusionPlacement, **other: str
) -> EarlyFusionNetwork:
    torch.manual_seed(0)
    settings = EarlyFusionSettings(
        levels=levels,
        fusion_depth=depth,
        units=6,
        dense_units=7,
        image_size=12,
        bins=5,
        placement=placement,
        **other,
    )
    return EarlyFusionNetwork(settings).eval()


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """3 images, 5 sounds, and 20 cases of them in no order, some twice."""
    torch.manual_seed(1)
    images, sounds = torch.rand(3, 1, 12, 12), torch.rand(len(SILENT), STEPS, 5)
    for sound, silent in zip(sounds, SILENT, strict=True):
        sound[:silent] = 0
    every = torch.cartesian_prod(torch.arange(3), torch.arange(len(SILENT)))
    cases = torch.cat([every, every[:5]])[torch.randperm(20)]
    return images, sounds, cases[:, 0], cases[:, 1]


def check(network: EarlyFusionNetwork, batch: int) -> None:
    images, sounds, image_rows, sound_rows = inputs()
    with torch.no_grad():
        heard = network.hear(sounds, SILENT)
        answer = network.answer(images, image_rows, heard, sound_rows, batch)
        expected = network(images[image_rows], sounds[sound_rows])
    torch.testing.assert_close(answer, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("modality", ["both", "visual", "audio"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_cases_are_answered_as_one_by_one(depth: int, modality: str, batch: int) -> None:
    check(build(2, depth, PLAIN, modality=modality), batch)


def test_nothing_rests_on_which_of_several_values_a_scatter_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch leaves it open, and a GPU keeps any: here the one that a CPU never keeps."""
    in_order = Tensor.scatter_

    def the_first(into: Tensor, dim: int, index: Tensor, values: Tensor) -> Tensor:
        return in_order(into, dim, index.flip(dim), values.flip(dim))

    monkeypatch.setattr(Tensor, "scatter_", the_first)
    check(build(2, 0, PLAIN), 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("depth", [0, 1])
def test_a_gpu_answers_many_cases_as_a_processor_does(depth: int) -> None:
    """40 images in 50,000 cases whose sounds begin anywhere: a grid's size."""
    torch.manual_seed(1)
    network = build(2, depth, PLAIN)
    images, sounds = torch.rand(40, 1, 12, 12), torch.rand(80, STEPS, 5)
    silent = torch.arange(80) % STEPS
    sounds[torch.arange(STEPS) < silent[:, None]] = 0
    # Of each image nearly all cases begin early, and one late.
    image_rows, sound_rows = torch.randint(40, (50_000,)), torch.randint(3, (50_000,))
    image_rows[:40], sound_rows[:40] = torch.arange(40), torch.arange(40)
    every = [images, image_rows, sounds, silent, sound_rows]
    answers = []
    for device in ("cpu", "cuda"):
        own, rows, heard, begin, heard_rows = (one.to(device) for one in every)
        network.to(device)
        with torch.inference_mode():
            answers.append(
                network.answer(own, rows, network.hear(heard, begin), heard_rows, 5_000).cpu()
            )
    torch.testing.assert_close(answers[1], answers[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PLACEMENTS)
@pytest.mark.parametrize("levels", [2, 3])
def test_so_are_those_of_every_coupling(name: str, levels: int) -> None:
    check(build(levels, 2, PLACEMENTS[name]), batch=4)


def test_silence_is_run_once_per_image() -> None:
    """Examples that go through a step of the first C-LSTM level, counted, against arithmetic."""
    images, sounds, image_rows, sound_rows = inputs()
    network = build(1, 0, PLAIN)
    counted = 0

    def count(
        gates: Tensor, given: Tensor, projected: Tensor | None, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        nonlocal counted
        counted += len(gates)
        return advance(gates, given, projected, cell)

    set_engine(network, arithmetic=Arithmetic("counted", advance=count))
    with torch.no_grad():
        network.answer(images, image_rows, network.hear(sounds, SILENT), sound_rows, batch=1)
    # The last step is never silent: there must be something to answer.
    begins = SILENT.clamp(max=STEPS - 1)
    assert counted == 3 * int(begins.max()) + int((STEPS - begins[sound_rows]).sum())


def test_what_one_sense_gives_is_run_once_per_input() -> None:
    images, sounds, image_rows, sound_rows = inputs()
    network = build(2, 2, PLAIN)
    rows: dict[str, list[int]] = {"image": [], "audio": []}
    for levels, sense in ((network.image_levels, "image"), (network.audio_levels, "audio")):
        for level in levels:
            level.register_forward_hook(
                lambda _, given, output, sense=sense: rows[sense].append(len(given[0]))
            )
    with torch.no_grad():
        network.answer(images, image_rows, network.hear(sounds), sound_rows, batch=2)
    assert rows == {"image": [3, 3], "audio": [5, 5]}


@pytest.mark.parametrize("cases", [[1, 2, 3], [0], [2, 1], [0, 2], [3, 3], []])
def test_values_of_some_cases_are_theirs_and_neighbours_are_not_copied(cases: list[int]) -> None:
    values = torch.arange(8.0).reshape(4, 2)
    some = torch.tensor(cases, dtype=torch.int64)
    given = Stream(values).by_case(some)
    assert given.tolist() == [values[case].tolist() for case in cases]
    shared = given.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
    assert shared == (cases in ([1, 2, 3], [0], []))
    assert Stream(values, torch.tensor([3, 2, 1, 0])).by_case(some).tolist() == [
        values[3 - case].tolist() for case in cases
    ]
