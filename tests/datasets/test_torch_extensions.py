"""torchvision and torchaudio import beside this torch, whoever asks for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_search.datasets import torch_extensions

PROGRAM = """
import sys
import fusion_search
assert "torch" not in sys.modules  # it takes seconds that nobody has asked for
# As transformers asks for it: by a module inside, and whether it is there.
from importlib.util import find_spec
assert find_spec("torchvision") is not None
from torchvision.transforms import functional
import torch, torchvision, torchaudio.functional
from torchvision.models import ResNet50_Weights, resnet50, vgg19
from torchvision.transforms import v2
with torch.device("meta"):
    for make in (resnet50, vgg19):
        print(sum(one.numel() for one in make().parameters()))
assert v2.Resize(4)(torch.zeros(3, 8, 8)).shape == (3, 4, 4)
assert ResNet50_Weights.DEFAULT.url.startswith("https://")
assert torchaudio.functional.spectrogram(
    torch.ones(8), 0, torch.ones(4), 4, 2, 4, 2.0, False
).shape == (3, 5)
"""


def test_both_import_in_a_fresh_process() -> None:
    pytest.importorskip("torchvision")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The published counts.
    assert done.stdout.split() == ["25557032", "143667240"]


def _package(folder: Path, body: str) -> None:
    (folder / "__init__.py").write_text(body)
    (folder / "inner.py").write_text("import sys\nsys.tried.append('inner')\n")


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of what was run, of a package that is found as torchvision would be."""
    names: list[str] = []
    monkeypatch.setattr(sys, "tried", names, raising=False)
    remedy = torch_extensions._Remedy(RuntimeError, lambda: names.append("declared"))
    monkeypatch.setitem(torch_extensions._REMEDIES, "half_there", remedy)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "half_there").mkdir()
    yield names
    for name in [one for one in sys.modules if one.partition(".")[0] == "half_there"]:
        del sys.modules[name]


BODY = "import sys\nfrom half_there import inner\nif 'declared' not in sys.tried:\n    raise {}()\n"


def test_nothing_is_declared_where_the_plain_import_succeeds(
    tried: list[str], tmp_path: Path
) -> None:
    _package(tmp_path / "half_there", "from half_there import inner")
    import half_there  # type: ignore[import-not-found]  # noqa: F401

    assert tried == ["inner"]


def test_what_was_imported_by_half_is_imported_again(tried: list[str], tmp_path: Path) -> None:
    _package(tmp_path / "half_there", BODY.format("RuntimeError"))
    import half_there  # noqa: F401

    assert tried == ["inner", "declared", "inner"]


def test_an_import_that_fails_for_another_reason_fails(tried: list[str], tmp_path: Path) -> None:
    _package(tmp_path / "half_there", BODY.format("MemoryError"))
    with pytest.raises(MemoryError):
        import half_there  # noqa: F401
    assert tried == ["inner"]


def test_it_is_mended_once() -> None:
    before = list(sys.meta_path)
    torch_extensions.mend_imports()
    assert sys.meta_path == before
    assert [type(one).__name__ for one in before].count("_Finder") == 1
