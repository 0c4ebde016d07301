"""A warm-up pass runs with the hooks on."""

from __future__ import annotations

import time

import torch

from solutions.core.classroom.values import LayerTime


def layer_times(model, picture, *, clock=time.perf_counter):
    starts, spent, kinds, calls = {}, {}, {}, {}

    def watch(name, layer):
        def enter(_layer, _inputs):
            starts[name] = clock()

        def leave(_layer, _inputs, _output):
            spent[name] = spent.get(name, 0.0) + clock() - starts[name]
            calls[name] = calls.get(name, 0) + 1
            kinds[name] = type(layer).__name__

        return [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]

    handles = []
    try:
        for path, module in model.named_modules():
            if not any(module.children()):
                handles += watch(path or type(module).__name__, module)
        with torch.inference_mode():
            model(picture)
            model(picture)
    finally:
        for handle in handles:
            handle.remove()
    rows = [LayerTime(name, kinds[name], calls[name], seconds) for name, seconds in spent.items()]
    return sorted(rows, key=lambda row: -row.seconds)
