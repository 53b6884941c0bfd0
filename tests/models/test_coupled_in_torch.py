"""A CoupledNetwork is a module as any other: copies, compilers, transforms, and other models."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.parallel import DistributedDataParallel
from two_streams import (
    COUPLED,
    EXAMPLE,
    SITES,
    Ready,
    block1,
    block2,
    drawn,
    gradients,
    levels,
    modules,
    network_of,
)

from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.layout import Placement, Site

BUILDS = [levels, modules]


@pytest.fixture(scope="module", params=BUILDS, ids=["levels", "modules"])
def network(request: pytest.FixtureRequest) -> CoupledNetwork:
    """In evaluation mode; tests leave it as it is."""
    return drawn(request.param(COUPLED)).eval()


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))]
)
def test_copies_and_pickles_answer_alike_and_are_apart(network: CoupledNetwork, again: Any) -> None:
    expected = network(**EXAMPLE)
    other = again(network)
    assert torch.equal(other(**EXAMPLE), expected)
    assert other.placement == network.placement
    assert other.layout.options() == network.layout.options()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(network(**EXAMPLE), expected)
    # A stream can be taken out, and runs by itself.
    video = again(network.streams["video"])
    if isinstance(video, Ready):
        assert torch.equal(video(EXAMPLE["video"]), network.streams["video"](EXAMPLE["video"]))


class _Graphs(list[Any]):
    """A compiler that runs what it is given, and keeps it."""

    def __call__(self, graph: Any, example: Any) -> Any:
        self.append(graph)
        return graph.forward


@pytest.fixture
def graphs() -> Iterator[_Graphs]:
    torch._dynamo.reset()
    yield _Graphs()
    torch._dynamo.reset()


def test_levels_compile_to_one_graph(graphs: _Graphs) -> None:
    plain = drawn(levels(COUPLED))
    compiled = torch.compile(copy.deepcopy(plain), backend=graphs, fullgraph=True)
    assert torch.equal(compiled(**EXAMPLE), plain(**EXAMPLE))
    assert len(graphs) == 1
    compiled(**EXAMPLE).sum().backward()
    plain(**EXAMPLE).sum().backward()
    for mine, its in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine.grad, its.grad)  # type: ignore[arg-type]


class _Plus(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, values: Tensor) -> Tensor:
        return torch.sin(self.module(values))


def test_suspended_streams_run_as_they_are_and_compile_between_sites(graphs: _Graphs) -> None:
    torch.manual_seed(3)
    video = Ready(
        nn.Sequential(_Plus(block2(3, 6))), nn.Sequential(_Plus(block2(6, 8))), ("a", "b")
    )
    emg = Ready(block1(4, 6), block1(6, 8), ("x", "y"))
    network = drawn(network_of({"video": video, "emg": emg}, COUPLED)).eval()
    expected = network(**EXAMPLE)
    assert torch.equal(torch.compile(network, backend=graphs)(**EXAMPLE), expected)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="streams are suspended; given as levels, they compile"):
        torch.compile(network, backend=graphs, fullgraph=True)(**EXAMPLE)
    assert not graphs
    network.streams["video"].a[0].compile(backend=graphs)
    assert torch.equal(network(**EXAMPLE), expected)
    assert len(graphs) == 1
    network.streams["video"].compile(backend=graphs)
    with pytest.raises(ValueError, match=r"level 'a' lies in a Ready that torch\.compile has"):
        network(**EXAMPLE)


def test_vmap_gives_the_gradients_of_single_examples(network: CoupledNetwork) -> None:
    weights = {name: one.detach() for name, one in network.named_parameters()}

    def loss(weights: dict[str, Tensor], video: Tensor, emg: Tensor) -> Tensor:
        given = {"video": video[None], "emg": emg[None]}
        answer: Tensor = functional_call(network, weights, (), given)
        return answer.square().sum()

    found = vmap(grad(loss), in_dims=(None, 0, 0))(weights, EXAMPLE["video"], EXAMPLE["emg"])
    for number in range(2):
        single = {name: one[number : number + 1] for name, one in EXAMPLE.items()}
        alone = copy.deepcopy(network)
        alone(**single).square().sum().backward()
        for name, one in gradients(alone).items():
            torch.testing.assert_close(found[name][number], one)


def test_vmap_runs_several_networks_at_once(network: CoupledNetwork) -> None:
    others = [copy.deepcopy(network) for _ in range(3)]
    for number, one in enumerate(others):
        with torch.no_grad():
            for parameter in one.parameters():
                parameter.mul_(1 + number / 10)
    state = stack_module_state(others)  # type: ignore[arg-type]
    found = vmap(lambda *state: functional_call(network, state, (), EXAMPLE))(*state)
    for one, its in zip(others, found, strict=True):
        torch.testing.assert_close(its, one(**EXAMPLE))


def test_autocast_reaches_streams_and_exchanges() -> None:
    networks = [drawn(build(COUPLED)) for build in BUILDS]
    kinds: list[torch.dtype] = []
    for network in networks:
        network.exchanges["s1"].coupling.register_forward_hook(
            lambda module, given, out: kinds.extend(one.dtype for one in out.values())
        )
    with torch.autocast("cpu", torch.bfloat16):
        answers = [one(**EXAMPLE) for one in networks]
    assert kinds == [torch.bfloat16] * 4
    assert answers[0].dtype == torch.bfloat16
    assert torch.equal(*answers)
    for one in answers:
        one.float().sum().backward()
    expected = gradients(networks[0])
    assert {one.dtype for one in expected.values()} == {torch.float32}
    for name, one in gradients(networks[1]).items():
        assert torch.equal(one, expected[name]), name
    torch.testing.assert_close(answers[0].float(), networks[0](**EXAMPLE), rtol=0.1, atol=0.1)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    where = f"file://{tmp_path / 'rendezvous'}"
    distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("build", BUILDS)
def test_data_parallel_trains_as_one_process_does(build: Any) -> None:
    plain, parallel = drawn(build(COUPLED)), DistributedDataParallel(drawn(build(COUPLED)))
    for network in (plain, parallel):
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(2):
            optimiser.zero_grad()
            network(**EXAMPLE).square().sum().backward()
            optimiser.step()
    # Every weight has taken part: else the second step raises.
    trained = plain.state_dict()
    for name, one in parallel.module.state_dict().items():
        assert torch.equal(one, trained[name]), name


class _Whole(nn.Module):
    """A model that has a coupled network within, and runs it among other things."""

    def __init__(self, inner: CoupledNetwork) -> None:
        super().__init__()
        self.inner, self.last = inner, nn.Linear(5, 3)

    def forward(self, video: Tensor, emg: Tensor) -> Tensor:
        answer: Tensor = self.last(self.inner(video=video, emg=emg).relu())
        return answer


@pytest.mark.parametrize("build", BUILDS)
def test_it_is_a_part_of_another_model(build: Any) -> None:
    inner = drawn(build(COUPLED))
    whole = _Whole(copy.deepcopy(inner))
    assert torch.equal(whole(**EXAMPLE), whole.last(inner(**EXAMPLE).relu()))
    assert len(whole.state_dict()) == len(inner.state_dict()) + 2


SOUND = torch.linspace(-1, 1, 36).view(2, 2, 9)


def _with_sound(inner: CoupledNetwork, level: str) -> CoupledNetwork:
    """A network of which that one is a stream, whose level meets another stream."""
    sound = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU())
    sites = [Site("outer", {"body": level, "sound": "0"})]
    example = {"body": EXAMPLE, "sound": SOUND}
    placement = Placement({"outer": {"coupling": "mmtm"}})
    return drawn(
        network_of({"body": _Whole(inner), "sound": sound}, placement, sites=sites, example=example)
    )


def _met(network: CoupledNetwork, body: Tensor) -> dict[str, Tensor]:
    sound = network.streams["sound"][0](SOUND)
    exchanged: dict[str, Tensor] = network.exchanges["outer"].coupling(
        {"body": body, "sound": sound}, {}
    )
    return exchanged


@pytest.mark.parametrize("build", BUILDS)
def test_it_is_a_stream_of_another_one(build: Any) -> None:
    network = _with_sound(build(COUPLED), "inner.head")
    whole: Any = network.streams["body"]
    met = _met(network, copy.deepcopy(whole.inner)(**EXAMPLE))
    ends = {"body": whole.last(met["body"].relu()), "sound": met["sound"].relu()}
    assert torch.equal(network(body=EXAMPLE, sound=SOUND), network.head(ends))


def test_a_site_among_inner_streams_needs_them_as_levels() -> None:
    with pytest.raises(ValueError, match=r"place it behind inner\.head, or give the inner"):
        _with_sound(modules(COUPLED), "inner.streams.video.a")
    network = _with_sound(levels(COUPLED), "inner.streams.video.a")
    answer = network(body=EXAMPLE, sound=SOUND)
    whole: Any = copy.deepcopy(network.streams["body"])
    met = _met(network, whole.inner.streams["video"]["a"](EXAMPLE["video"]))
    whole.inner.streams["video"]["a"] = _Always(met["body"])
    ends = {"body": whole(**EXAMPLE), "sound": met["sound"].relu()}
    assert torch.equal(answer, network.head(ends))


class _Always(nn.Module):
    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, values: Tensor) -> Tensor:
        return self.answer


def test_what_two_sites_name_twice_is_met_twice() -> None:
    twice = [*SITES, Site("s3", {"video": "b", "emg": "y"})]
    placement = Placement({"s2": {"coupling": "mmtm"}, "s3": {"coupling": "mmtm"}})
    networks = [drawn(build(placement, sites=twice)) for build in BUILDS]
    assert torch.equal(*(one(**EXAMPLE) for one in networks))
    plain = networks[0]
    values = {name: EXAMPLE[name] for name in plain.names}
    for name, stream in plain.streams.items():
        for level in stream.values():  # type: ignore[operator]
            values[name] = level(values[name])
    for site in ("s2", "s3"):
        values = plain.exchanges[site].coupling(values, {})
    assert torch.equal(plain(**EXAMPLE), plain.head(values))
