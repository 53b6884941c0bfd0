"""Couplings of one's own: what they take, and how one that breaks the contract is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_search.models.coupled.exchange import Exchange
from fusion_search.models.couplings.kinds import coupling_fits, find_coupling, make_coupling
from fusion_search.models.couplings.options import connection_options, coupling_options
from fusion_search.models.layout import Feature, Site

MAPS = {"a": Feature(6, (4, 4)), "b": Feature(10, (4, 4))}


def test_what_a_kind_takes_is_read_from_its_constructor() -> None:
    taken = coupling_options("mmtm")
    assert {name: (one.type, one.default) for name, one in taken.items()} == {
        "ratio": (int, 4),
        "relu": (bool, True),
        "identity": (bool, False),
        "gated": (tuple[str, ...], None),
    }
    assert coupling_options("squeeze_excitation")["ratio"].default == 2
    needy = coupling_options("own_couplings:Needy")
    assert needy["share"].required
    assert needy["share"].type is float
    assert list(needy) == ["share", "width", "gated"]
    assert set(connection_options("cross", 2, 0)) & set(connection_options("cross", 0, 2)) == {
        *("size", "batch_norm", "slope"),
    }
    with pytest.raises(ValueError, match="option 'share' of own_couplings:Needy is missing"):
        Exchange(Site("s", {"a": "l", "b": "l"}), MAPS, {}, {"coupling": "own_couplings:Needy"})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("hidden", "keeps weights in secret, where they are neither found nor trained"),
        ("unmade", r"cannot be made of a .*: out of luck"),
        ("ends", r"cannot be made of a .*: it ends the program"),
        ("exits", r"fails on a .*: it ends the program"),
        ("list", "gave a list; expected a mapping of every stream"),
        ("lost", "did not return stream a; expected every stream"),
        ("shape", r"made a \[2, 1, 4, 4\]; expected \[2, 6, 4, 4\], the shape that came"),
        ("changed", "changed a, which is not gated; expected it as it came"),
        ("in place", "changed a, which is not gated; expected it as it came"),
        ("fails", r"fails on a \[2, 6, 4, 4\], b \[2, 10, 4, 4\]: out of luck"),
    ],
)
def test_a_coupling_that_breaks_the_contract_is_told_how(fault: str, message: str) -> None:
    kind = "own_couplings:Misbehaving"
    make_coupling(kind, MAPS, ("b",), {})
    with pytest.raises(ValueError, match=f"^coupling {kind} {message}"):
        make_coupling(kind, MAPS, ("b",), {"fault": fault})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("own_couplings:Unfinished", "has no static method fits"),
        ("own_couplings:NoModule", "is no torch.nn.Module"),
        ("own_couplings:no_class", "is no class; allowed: mmtm, "),
        ("own_couplings:Nothing", "is no class; allowed: mmtm, "),
        ("no_couplings:Bottleneck", "cannot be imported: No module named 'no_couplings'"),
        ("own_couplings:", "allowed: mmtm, .*or a class of yours as module:Class"),
    ],
)
def test_what_is_no_coupling_is_named(kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_coupling(kind)


def test_a_module_that_prints_or_ends_the_program_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ending_couplings.py").write_text("print('hello')\nraise SystemExit(2)\n")
    with pytest.raises(ValueError, match="cannot be imported: it ends the program"):
        find_coupling("ending_couplings:Any")
    assert capsys.readouterr() == ("", "hello\n")


def test_options_and_fits_of_ones_own_that_fail_are_named() -> None:
    with pytest.raises(ValueError, match=r"option 'width' of .*Untyped' has no type; annotate it"):
        coupling_options("own_couplings:Untyped")
    with pytest.raises(ValueError, match="Unsure cannot say whether it fits: out of luck"):
        coupling_fits("own_couplings:Unsure", MAPS)
