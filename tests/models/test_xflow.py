from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fusion_search.models.couplings.cross_connections import ElementPReLU
from fusion_search.models.layout import Placement
from fusion_search.models.xflow.averaged import AveragedXFlow
from fusion_search.models.xflow.norm import EPSILON, StepNorm
from fusion_search.models.xflow.recurrent import RecurrentXFlow
from fusion_search.models.xflow.widths import WHOLE, trainable, widening

PLACES = list(itertools.product(("level1", "level2"), ("image>audio", "audio>image")))
KINDS = ("none", "cross", "residual", "both")
FORMS = [
    ("averaged", 11, (80, 60), 26),
    ("averaged", 6, (90, 120), 10),
    ("sequence", 39, (80, 60), 26),
    ("sequence", 58, (90, 120), 10),
]


def example(steps: int, sides: tuple[int, int], clips: int = 2, coefficients: int = 26) -> Any:
    there = torch.ones(clips, steps, dtype=torch.bool)
    frames, vectors = torch.zeros(clips, steps, *sides), torch.zeros(clips, steps, coefficients)
    return {
        "image": {"frames": frames, "there": there},
        "audio": {"coefficients": vectors, "there": there},
    }


def placement(kinds: tuple[str, ...]) -> Placement:
    sites: dict[str, dict[str, str]] = {"level1": {}, "level2": {}}
    for (site, way), kind in zip(PLACES, kinds, strict=True):
        sites[site][way] = kind
    return Placement(sites)


def network(form: str, given: Any, classes: int, placed: Placement, **settings: Any) -> nn.Module:
    made: nn.Module = {"averaged": AveragedXFlow, "sequence": RecurrentXFlow}[form](
        given, classes, placed, **settings
    )
    return made


def without_values(*arguments: Any) -> Any:
    with torch.device("meta"):
        return network(*arguments)


# The count by hand, layer by layer as the paper's text and tables name them.


def dense(into: int, out: int) -> int:
    return (into + 1) * out


def convolution(into: int, out: int, side: int) -> int:
    return into * out * side**2 + out


def by_hand(
    form: str, steps: int, sides: tuple[int, int], classes: int, kinds: tuple[str, ...]
) -> int:
    """Trainable parameters of a variant."""
    regular = form == "averaged"
    small = sides == (80, 60)
    has = {
        (site, way, kind): placed in (kind, "both")
        for (site, way), placed in zip(PLACES, kinds, strict=True)
        for kind in ("cross", "residual")
    }
    maps = ((40, 30), (20, 15)) if small else ((45, 60), (22, 30))
    channels = (16, 32) if regular else (8, 16)
    units = 128 if regular else 32
    cross = (64, 128) if regular else (32, 64)
    kernels = ((8, 4) if regular else (16, 8)) if small else (32, 16)
    pooled = (20 * 15, 10 * 14) if small else (22 * 30, 11 * 29)
    image, audio = (steps, 26 * steps) if regular else (1, 26)
    norm = 2 if regular else 0  # a scale and a shift a channel

    total = 2 * steps  # of the input's normalisation: its channels, or its steps
    widths = [image, audio]
    for level, site in enumerate(("level1", "level2")):
        # The streams: two convolutions with connections' normalisation, or one; a dense layer.
        out, (height, width) = channels[level], maps[level]
        if regular:
            total += convolution(widths[0], out, 3) + convolution(out, out, 3) + norm * out
        else:
            total += convolution(widths[0], out, 3)
        total += dense(widths[1], units)
        if regular and (level == 0 or any(kind != "none" for kind in kinds)):
            total += norm * units
        widths = [out, units]
        if has[site, "image>audio", "residual"]:
            total += dense(image * pooled[level], units) + units
        if has[site, "image>audio", "cross"]:
            size = cross[level]
            total += convolution(out, out, 1) + out * height * width + norm * out
            total += dense(out * height * width, size) + size
            widths[1] += size
        for kind, source in (("residual", audio), ("cross", units)):
            if has[site, "audio>image", kind]:
                side = kernels[level]
                count = (height - side + 1) * (width - side + 1)
                total += dense(source, count) + count + norm * count
                total += convolution(1, out, side) + out * height * width
                if kind == "residual" and level == 0:
                    total += norm * out
                if kind == "cross":
                    widths[0] += out
        for stream, way in enumerate(("audio>image", "image>audio")):
            merges = has[site, way, "cross"] or has[site, way, "residual"]
            if merges and (level, stream) != (1, 1):
                total += norm * widths[stream]
    end = 256 if regular else 64
    total += dense(widths[0] * maps[1][0] * maps[1][1], end)
    joined = end + widths[1]
    if regular:
        return total + 2 * joined + dense(joined, 512) + dense(512, classes)
    lstm = 4 * (joined * 64 + 64 * 64 + 64)
    return total + 2 * steps + lstm + dense(64, classes)


def test_baselines_have_the_printed_parameters() -> None:
    letters, digits = (FORMS[number] for number in (0, 1))
    printed = {letters: 2_740_512, digits: 5_664_054}
    for (form, steps, sides, classes), count in printed.items():
        made = without_values(form, example(steps, sides), classes, Placement())
        assert trainable(made) == by_hand(form, steps, sides, classes, ("none",) * 4) == count
    recurrent = without_values("sequence", example(39, (80, 60)), 26, Placement())
    assert trainable(recurrent) == 353_494
    running = [one.numel() for name, one in recurrent.named_buffers() if "running" in name]
    assert sum(running) == 156


@pytest.mark.parametrize(
    "some", [pytest.param(5, id="short"), pytest.param(256, id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("form", "steps", "sides", "classes"), FORMS)
def test_parameters_of_every_variant(
    form: str, steps: int, sides: tuple[int, int], classes: int, some: int
) -> None:
    variants = list(itertools.product(KINDS, repeat=4))
    assert len(variants) == 256
    chosen = random.Random(steps).sample(variants, some)
    given = example(steps, sides)
    for kinds in {*chosen, *((kind,) * 4 for kind in KINDS)}:
        made = without_values(form, given, classes, placement(kinds))
        assert trainable(made) == by_hand(form, steps, sides, classes, kinds), kinds


def dense_of(connection: nn.Module) -> nn.Linear:
    (found,) = (one for one in connection.modules() if isinstance(one, nn.Linear))
    return found


def test_sizes_of_the_papers_layers() -> None:
    """Those that the paper prints, rather than what follows from them."""
    printed = {
        0: ((759, 204), (3300, 1540), 512),
        1: ((406, 105), (3960, 1914), 512),
        2: ((375, 104), (300, 140), 160),
        3: ((406, 105), (660, 319), 160),
    }
    for number, (upward, pooled, joined) in printed.items():
        form, steps, sides, classes = FORMS[number]
        made = without_values(form, example(steps, sides), classes, WHOLE)
        for level, site in enumerate(("level1", "level2")):
            there = made.exchanges[site]
            for kind in (there.crosses, there.residuals):
                assert dense_of(kind["audio>image"]).out_features == upward[level]
            assert dense_of(there.residuals["image>audio"]).in_features == pooled[level]
        if form == "averaged":
            assert made.head.layers[2].in_features == joined
        else:
            assert made.head.lstm.input_size == joined


def test_slopes_start_as_asked() -> None:
    for form in ("averaged", "sequence"):
        made = network(form, example(4, (24, 20)), 3, WHOLE, slope=0.1)
        slopes = [one.slopes for one in made.modules() if isinstance(one, ElementPReLU)]
        assert len(slopes) == 2 * (2 + 1 + 2 + 2)
        assert all(bool((one == 0.1).all()) for one in slopes)


@pytest.mark.parametrize("form", ["averaged", "sequence"])
def test_the_widened_baseline_is_as_large_as_the_whole(form: str) -> None:
    given = example(11, (80, 60))

    def make(factor: float, placed: Placement) -> nn.Module:
        return network(form, given, 26, placed, factor=factor)

    factor = widening(make)
    with torch.device("meta"):
        wide, whole = make(factor, Placement()), make(1.0, WHOLE)
    assert abs(trainable(wide) / trainable(whole) - 1) < 0.02


@pytest.fixture(scope="module")
def clips() -> dict[str, dict[str, Tensor]]:
    """Four clips of 5, 3, 1 and 4 steps."""
    generator = torch.Generator().manual_seed(0)
    given = example(5, (24, 20), 4)
    there = torch.arange(5) < torch.tensor([5, 3, 1, 4])[:, None]
    for one in given.values():
        one["there"] = there
    frames = torch.rand(4, 5, 24, 20, generator=generator)
    given["image"]["frames"] = frames * there[:, :, None, None]
    vectors = torch.randn(4, 5, 26, generator=generator)
    given["audio"]["coefficients"] = vectors * there[:, :, None]
    found: dict[str, dict[str, Tensor]] = given
    return found


def changed(clips: Any, by: float) -> Any:
    """The same with something in the padding."""
    gone = ~clips["image"]["there"]
    image, audio = dict(clips["image"]), dict(clips["audio"])
    image["frames"] = image["frames"] + by * gone[:, :, None, None]
    audio["coefficients"] = audio["coefficients"] + by * gone[:, :, None]
    return {"image": image, "audio": audio}


def test_padding_changes_nothing(clips: Any) -> None:
    torch.manual_seed(0)
    made: Any = network("sequence", clips, 3, WHOLE)
    made.head.dropout.p = 0.0
    trained = made(**clips)  # statistics of what is there alone
    assert torch.equal(made.train()(**changed(clips, 7.0)), trained)
    made.eval()
    whole = made(**clips)
    assert torch.equal(made(**changed(clips, 7.0)), whole)
    for number, length in enumerate((5, 3, 1, 4)):
        alone = {
            stream: {name: one[number : number + 1, :length] for name, one in parts.items()}
            for stream, parts in clips.items()
        }
        torch.testing.assert_close(made(**alone), whole[number : number + 1])


def test_an_absent_input_is_not_taken_for_padding(clips: Any) -> None:
    torch.manual_seed(0)
    made = network("sequence", clips, 3, WHOLE)
    made(**clips)
    made.eval()
    image = {**clips["image"], "frames": torch.zeros_like(clips["image"]["frames"])}
    heard = made(image=image, audio=clips["audio"])
    shorter = {name: {**one, "there": torch.arange(5) < 1} for name, one in clips.items()}
    for one in shorter.values():
        one["there"] = one["there"].expand(4, 5)
    less = made(image=image, audio={**clips["audio"], "there": shorter["audio"]["there"]})
    assert not torch.allclose(heard[0], less[0])
    torch.testing.assert_close(heard[2], less[2])  # which has one step anyway


def test_steps_are_normalised_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    frames, steps = torch.randn(9, 4, 3, generator=generator), torch.tensor([0, 1, 2] * 3)
    norm = StepNorm(4, momentum=0.01)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        norm.bias.copy_(torch.tensor([0.0, 0.5, 1.0, 1.5]))
    found = norm(frames, steps)
    for step in range(3):
        own = frames[steps == step]
        normal = (own - own.mean()) / (own.var(unbiased=False) + EPSILON).sqrt()
        wanted = normal * norm.weight[step] + norm.bias[step]
        torch.testing.assert_close(found[steps == step], wanted)
        torch.testing.assert_close(norm.running_mean[step], own.mean())
        torch.testing.assert_close(norm.running_var[step], own.var())
    # A step that nobody has seen takes what the last one before it has.
    norm.eval()
    last = norm(frames[:1], torch.tensor([3]))
    plain = (frames[:1] - norm.running_mean[2]) / (norm.running_var[2] + EPSILON).sqrt()
    torch.testing.assert_close(last, plain * norm.weight[3] + norm.bias[3])


def test_statistics_of_all_steps_count_padding_as_published(clips: Any) -> None:
    made: Any = network("sequence", clips, 3, Placement(), step_statistics="all")
    made(**clips)
    torch.testing.assert_close(made.norm.running_mean, clips["image"]["frames"].mean((0, 2, 3)))
    valid: Any = network("sequence", clips, 3, Placement())
    valid(**clips)
    lengths = clips["image"]["there"].sum(0)
    wanted = clips["image"]["frames"].mean((2, 3)).sum(0) / lengths
    torch.testing.assert_close(valid.norm.running_mean, wanted)


def test_steps_that_count_in_statistics_alone_leave_the_state_as_it_is(clips: Any) -> None:
    def last(step_statistics: str) -> Any:
        torch.manual_seed(0)
        made: Any = network("sequence", clips, 3, WHOLE, step_statistics=step_statistics)
        made.norm = made.head.norm = Unchanged()
        made.head.dropout.p = 0.0
        return made(**clips)

    torch.testing.assert_close(last("all"), last("valid"))


class Unchanged(nn.Module):
    """In place of a normalisation, so that its statistics do not tell."""

    def forward(self, frames: Tensor, steps: Tensor) -> Tensor:
        return frames


def test_dropouts_of_the_released_code_and_of_the_paper(clips: Any) -> None:
    def found(placed: Placement, dropouts: str) -> list[float]:
        made = network("sequence", clips, 3, placed, dropouts=dropouts)
        return [one.p for one in made.modules() if isinstance(one, nn.Dropout) and one.p]

    assert found(Placement(), "code") == [0.25]
    assert found(WHOLE, "code") == [0.5]
    assert found(Placement(), "paper") == [0.5]
    # The final merge, and level 1 of both streams and level 2 of the image's.
    assert found(WHOLE, "paper") == [0.5] * 4


def test_one_bias_a_gate_and_one_at_the_forget_gate(clips: Any) -> None:
    lstm = network("sequence", clips, 3, Placement()).head.lstm  # type: ignore[union-attr]
    assert lstm.bias_ih_l0.view(4, 64).mean(1).tolist() == [0, 1, 0, 0]  # type: ignore[union-attr]
    assert not lstm.bias_hh_l0.requires_grad  # type: ignore[union-attr]
    assert not lstm.bias_hh_l0.any()  # type: ignore[union-attr,operator]
