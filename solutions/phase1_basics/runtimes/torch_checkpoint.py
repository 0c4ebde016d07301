"""Training checkpoints: the weights out of what a training loop saved around them, under the network's own names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from solutions.core.errors import ModelLoadError

_WEIGHT_KEYS = (
    "state_dict", "model_state_dict", "model", "model_state", "module", "net", "network", "weights", "ema", "model_ema",
)  # fmt: skip
_ARCH_KEYS = ("arch", "architecture", "model_name", "arch_name")
_LABEL_KEYS = ("labels", "classes", "class_names")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")  # DataParallel, torch.compile, Lightning and the like
_LONGEST_FACT = 10_000  # characters

# Names that torchvision's own published files of densenet and ViT have, and its networks no longer.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights by name, the architecture that the file claims, and what else it says in words."""

    state: Mapping[str, torch.Tensor]
    arch: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def unwrap(path: Path, saved: Any) -> Checkpoint | nn.Module:
    """The weights in what torch.save stored, or the module where a trusted pickle holds one.

    Raises:
        ModelLoadError: there are no weights in it.
    """
    if isinstance(saved, nn.Module):
        return saved
    if not isinstance(saved, Mapping):
        raise ModelLoadError(f"{path} holds a {type(saved).__name__}, not the named weights of a network.")
    if _is_state(saved):
        return Checkpoint(own_names(saved))
    for key in _WEIGHT_KEYS:
        inner = saved.get(key)
        if isinstance(inner, nn.Module):
            return inner
        if isinstance(inner, Mapping) and _is_state(inner):
            arch = next((saved[name] for name in _ARCH_KEYS if isinstance(saved.get(name), str)), None)
            return Checkpoint(own_names(inner), arch, _facts(saved))
    keys = ", ".join(str(key)[:40] for key in list(saved)[:5]) or "nothing"
    raise ModelLoadError(f"{path} holds {keys}, and no weights by name. Save torch.save(model.state_dict(), ...).")


def own_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without the prefixes of wrappers, and with today's names."""
    names = {name: name for name in state}
    while prefix := _common_wrapper(names.values()):
        names = {name: short.removeprefix(prefix) for name, short in names.items()}
    for pattern, new in _RENAMED:
        names = {name: pattern.sub(new, short) for name, short in names.items()}
    return {short: state[name] for name, short in names.items()}


def _common_wrapper(names: Collection[str]) -> str | None:
    """The wrapper's prefix that all names have."""
    return next((wrap for wrap in _WRAPPERS if names and all(name.startswith(wrap) for name in names)), None)


def _is_state(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(isinstance(key, str) and isinstance(part, torch.Tensor) for key, part in value.items())


def _facts(saved: Mapping[str, Any]) -> dict[str, str]:
    """What the checkpoint says in words and numbers; class names as `labels`."""
    facts = {
        str(key): str(value)[:_LONGEST_FACT]
        for key, value in saved.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
    }
    numbered = saved.get("class_to_idx")
    if isinstance(numbered, Mapping):
        facts["labels"] = _joined(sorted(numbered, key=lambda label: numbered[label]))
    for key in _LABEL_KEYS:
        if isinstance(saved.get(key), (list, tuple)) and all(isinstance(label, str) for label in saved[key]):
            facts["labels"] = _joined(saved[key])
    return facts


def _joined(labels: Iterable[str]) -> str:
    return ",".join(str(label).replace(",", ";") for label in labels)
