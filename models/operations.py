"""Multiply-accumulate operations of a network, counted while it runs."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

from fusion_search.models.convlstm import ConvLSTM

_COUNTED: Final = (nn.Conv2d, nn.Conv1d, nn.ConvTranspose2d, nn.Linear, nn.LSTM, ConvLSTM)


def count_multiply_accumulates(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of one forward pass over ``inputs``.

    Counted are the products of convolutions, dense layers and LSTMs as they are executed (what
    does not change over time counts once); element-wise work, pooling and biases are not, as is
    usual. The network is run once, in evaluation mode, without gradients.
    """
    total = 0

    def add(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        total += _products(module, given[0], output)

    hooks = [
        module.register_forward_hook(add)
        for module in network.modules()
        if isinstance(module, _COUNTED)
    ]
    training = network.training
    try:
        with torch.inference_mode():
            network.eval()(*inputs)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return total


def _products(module: nn.Module, given: Tensor, output: Any) -> int:
    if isinstance(module, ConvLSTM):
        # Of the recurrent convolutions alone; the layer's other parts are modules of their own.
        outputs, (hidden, _) = output
        window = math.prod(module.cell.recurrent.kernel_size)
        return int(outputs.shape[1]) * int(hidden.numel()) * 4 * module.units * window
    if isinstance(module, nn.LSTM):
        assert module.num_layers == 1
        steps = given.shape[0] * given.shape[1]
        return steps * 4 * module.hidden_size * (module.input_size + module.hidden_size)
    if isinstance(module, nn.Linear):
        return int(output.numel()) * module.in_features
    if isinstance(module, nn.ConvTranspose2d):
        window = math.prod(module.kernel_size)
        return given.numel() * window * module.out_channels // module.groups
    assert isinstance(module, nn.Conv2d | nn.Conv1d)
    window = math.prod(module.kernel_size)
    return int(output.numel()) * window * module.in_channels // module.groups
