"""``torchaudio.functional``, also beside a CPU build of torch."""

from __future__ import annotations

import importlib
import sys
import types


def _imported() -> types.ModuleType:
    """Import it.

    torchaudio 2.11 on the package index is built against CUDA. Its optional extension module then
    cannot be loaded beside a CPU torch (OSError: libc10_cuda.so) and takes the whole import down,
    though everything used here is plain PyTorch. Only then the extension is declared absent, as
    torchaudio itself does where it was built without one.
    """
    try:
        return importlib.import_module("torchaudio.functional")
    except OSError:
        absent = types.ModuleType("torchaudio._extension")
        absent._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
        absent.fail_if_no_align = _needs_extension  # type: ignore[attr-defined]
        sys.modules["torchaudio._extension"] = absent
        return importlib.import_module("torchaudio.functional")


def _needs_extension(function: object) -> object:
    """Stand for torchaudio's decorator of functions that this package does not use."""
    return function


functional = _imported()
