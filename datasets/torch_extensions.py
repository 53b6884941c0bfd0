"""torchaudio and torchvision beside a CPU build of torch.

On the package index both are built against CUDA. Beside a CPU torch their compiled parts cannot be
loaded, and take the import of the whole package down, though spectrograms, backbones and transforms
are plain PyTorch; and with them what imports them in passing, such as transformers' models. So
where the plain import fails for that reason, the compiled parts are declared absent, and it is done
again. Whoever imports the packages afterwards notices nothing, in a task's own file or elsewhere.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any, Final, NamedTuple


class _Remedy(NamedTuple):
    fails: type[Exception]  # what the plain import raises
    declare: Callable[[], None]


def _declare_torchaudio() -> None:
    # As torchaudio itself does where it was built without an extension.
    absent: Any = types.ModuleType("torchaudio._extension")
    absent._IS_TORCHAUDIO_EXT_AVAILABLE = False
    absent.fail_if_no_align = lambda function: function  # a decorator
    sys.modules["torchaudio._extension"] = absent


def _declare_torchvision() -> None:
    import torch

    # torchvision says what these give for tensors without values, of whatever operators there are.
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(operators)


_REMEDIES: Final = {
    "torchaudio": _Remedy(OSError, _declare_torchaudio),  # libc10_cuda.so: cannot open
    "torchvision": _Remedy(RuntimeError, _declare_torchvision),  # torchvision::nms does not exist
}
_kept: Final[list[Any]] = []  # operators last as long as what declared them


class _Again(SourceFileLoader):
    """Loads a package, if need be a second time."""

    def exec_module(self, module: types.ModuleType) -> None:
        remedy = _REMEDIES[module.__name__]
        try:
            super().exec_module(module)
        except remedy.fails:
            inside = f"{module.__name__}."
            for name in [one for one in sys.modules if one.startswith(inside)]:
                del sys.modules[name]  # imported by half
                vars(module).pop(name.removeprefix(inside), None)
            remedy.declare()
            super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str | bytes] | None = None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in _REMEDIES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)  # type: ignore[arg-type]
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Again(spec.loader.name, str(spec.loader.path))
        return spec


def mend_imports() -> None:
    """Let the two packages be imported beside a CPU build of torch; once is enough."""
    if not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
