"""The one place that imports TensorRT, and knows in what its three kinds differ.

TensorRT 10 and 11 (`tensorrt`) and TensorRT-RTX (`tensorrt_rtx`) share their builder, parser, profiles and runtime.
As far as this builder goes they differ in this (found in the bindings of 10.16, 11.4 and RTX 1.7):

| | 10 | 11 | RTX |
|---|---|---|---|
| a network is strongly typed | when asked for by a flag | always; the flag is deprecated | always; likewise |
| FP16 and INT8 builder flags, calibrator | present, never used here | gone | gone |
| timing cache | yes | yes | calls are deprecated no-ops |
| GPUs an engine is built for | the present one | the present one | any that are named, with no GPU present |
| a level of hardware compatibility | yes | yes | what is named instead |

So precision lives in the ONNX file for all three: its types, and its QuantizeLinear nodes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.optional import available, require

INSTALL = 'pip install "ml-inference[tensorrt]" (on a machine with an NVIDIA GPU), or "ml-inference[tensorrt-rtx]"'
OLDEST = 10  # the first with what is used here: strongly typed networks, tensors bound by name
_MODULES = ("tensorrt", "tensorrt_rtx")


@dataclass(frozen=True, slots=True)
class TensorRtApi:
    """An imported TensorRT.

    Attributes:
        module: what was imported.
        kind: "tensorrt" or "tensorrt-rtx".
        version: as the package says it.
    """

    module: ModuleType
    kind: str
    version: str

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.partition(".")[0])

    @property
    def title(self) -> str:
        """What people call it, with its version."""
        return f"{'TensorRT-RTX' if self.kind == 'tensorrt-rtx' else 'TensorRT'} {self.version}"

    @property
    def network_flags(self) -> int:
        """What `create_network` wants to make a strongly typed network."""
        if self.kind == "tensorrt" and self.major == 10:
            return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return 0

    @property
    def has_timing_cache(self) -> bool:
        """True where kernels are timed at build time, and the timings can be kept."""
        return self.kind == "tensorrt"

    @property
    def targets(self) -> tuple[str, ...]:
        """The GPUs that can be named as a target, such as "SM89"; none where the present GPU is the only one."""
        names = getattr(getattr(self.module, "ComputeCapability", None), "__members__", {})
        return tuple(name for name in names if name.startswith("SM"))

    def set_targets(self, config: Any, targets: Sequence[str]) -> None:
        """Nothing comes back; tell a builder config which GPUs to build for. No target leaves it as it is.

        Raises:
            ConfigError: this TensorRT cannot be told, or does not know one of them.
        """
        if not targets:
            return
        known = self.targets
        if not known:
            raise ConfigError(
                f"{self.title} builds for the GPU that is present and takes no targets: leave {', '.join(targets)} "
                "out, or build with TensorRT-RTX."
            )
        unknown = [target for target in targets if target not in known]
        if unknown:
            raise ConfigError(f"{self.title} cannot build for {', '.join(unknown)}. It knows {', '.join(known)}.")
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(getattr(self.module.ComputeCapability, target), index)


def tensorrt_api(prefer: str | None = None) -> TensorRtApi:
    """TensorRT where it is installed and loads, else TensorRT-RTX.

    Args:
        prefer: "tensorrt" or "tensorrt_rtx" to take no other.

    Raises:
        BackendUnavailable: neither is installed or loads, or it is older than TensorRT 10.
        ConfigError: another name.
    """
    if prefer is not None and prefer not in _MODULES:
        raise ConfigError(f"prefer must be one of {', '.join(_MODULES)}, got {prefer}")
    wanted = (prefer,) if prefer else _MODULES
    broken: BackendUnavailable | None = None
    for name in wanted:
        if not available(name):
            continue
        try:
            module = require(name, why="building TensorRT engines", install=INSTALL)
        except BackendUnavailable as error:  # bindings without their libraries; the other kind may still load
            broken = broken or error
            continue
        api = TensorRtApi(module, name.replace("_", "-"), str(getattr(module, "__version__", "0")))
        if api.kind == "tensorrt" and api.major < OLDEST:
            raise BackendUnavailable(f"{api.title} is too old for this builder, which needs {OLDEST}. {INSTALL}")
        return api
    if broken is not None:
        raise broken
    raise BackendUnavailable(
        f"TensorRT engines need {' or '.join(wanted)}, which {'is' if prefer else 'are'} not installed. Install it: "
        f"{INSTALL}"
    )


class Messages:
    """What a TensorRT said since it was last asked: errors and warnings only."""

    def __init__(self) -> None:
        self._said: list[tuple[str, str]] = []

    def add(self, severity: str, text: str) -> None:
        """Keep one line; called by TensorRT's logger."""
        self._said.append((severity, text))

    def take(self) -> list[str]:
        """The errors since the last call, oldest first; warnings are dropped."""
        errors = [text for severity, text in self._said if "ERROR" in severity]
        self._said.clear()
        return errors


@functools.cache
def logger_of(module: ModuleType) -> tuple[Any, Messages]:
    """The one logger of a TensorRT in this process, and where its messages go: it heeds no logger but its first."""
    messages = Messages()

    class KeepingLogger(module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            name = str(severity)
            if "ERROR" in name or "WARNING" in name:
                messages.add(name, text)

    return KeepingLogger(), messages
