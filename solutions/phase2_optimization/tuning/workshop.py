"""Where candidates are made ready to run: quantized and converted files, each made once, and models in their runtimes.

Times do not depend on where the ranges of an int8 model lie, so a race can be run on drafts: calibrated with min-max on
two samples, which is made in a second. Whoever wins on a draft is calibrated properly before it may win.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model
from solutions.phase2_optimization.compilation.optimizer import OptimizerConfig, optimize
from solutions.phase2_optimization.quantization.dynamic import OPS, DynamicConfig, to_dynamic
from solutions.phase2_optimization.quantization.half import HalfConfig, to_half
from solutions.phase2_optimization.quantization.saving import save_model
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from solutions.phase2_optimization.quantization.variants import StaticVariants
from solutions.phase2_optimization.tuning.candidates import Candidate
from solutions.phase2_optimization.tuning.loading import load_candidate
from solutions.phase2_optimization.tuning.pictures import Samples
from solutions.phase2_optimization.tuning.subject import Subject

_DRAFT_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Ready:
    """A candidate that runs: `call` answers `items` requests, `predict` one; `size_bytes` is that of its file."""

    call: Callable[[], object]
    items: int
    predict: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    size_bytes: int
    close: Callable[[], None]


class Workshop:
    """Makes candidates of one network.

    Args:
        subject: the network.
        samples: to calibrate with.
        folder: for the files that are made.
        observer: how static int8 chooses ranges when it is calibrated properly.
    """

    def __init__(self, subject: Subject, samples: Samples, folder: Path, *, observer: str = "entropy") -> None:
        self.subject, self._samples, self._folder, self._observer = subject, samples, folder, observer
        self._made: dict[str, Path] = {}

    def file(self, candidate: Candidate, *, draft: bool = False) -> Path:
        """What the candidate's runtime loads.

        Raises:
            ConfigError: there is nothing to quantize, or the model has no PyTorch module.
            ModelLoadError: it cannot be converted.
        """
        if not candidate.takes_graph:
            if self.subject.module is None:
                raise ConfigError(f"{self.subject.graph.name} is a graph without a PyTorch module")
            return self.subject.module
        kind = _kind(candidate)
        if kind == "float":
            return self.subject.graph
        for key in (kind, f"{kind}-draft") if draft else (kind,):
            if key in self._made:
                return self._made[key]
        name = f"{kind}-draft" if draft else kind
        self._made[name] = save_model(self._make(kind, draft), self._folder / f"{self.subject.name}-{name}.onnx")
        return self._made[name]

    def has_drafts(self, candidate: Candidate) -> bool:
        """True where a draft and the real thing differ."""
        return candidate.takes_graph and _kind(candidate) in ("int8-onnxruntime", "int8-openvino", "fp16")

    def unfit(self, candidate: Candidate) -> str:
        """Why the candidate may be timed and not used: ranges of trained weights, found on noise, are wrong."""
        if self._samples.meaningful or self.subject.untrained or candidate.precision not in ("int8", "int8+bf16"):
            return ""
        return "its ranges would come from noise: give --calibration FOLDER"

    def open(self, candidate: Candidate, *, draft: bool = False) -> Model:
        """The candidate, loaded.

        Raises:
            CourseError: it cannot be made or loaded here.
        """
        return load_candidate(candidate, self.file(candidate, draft=draft), self.subject.loader)

    def ready(self, candidate: Candidate, feeds: Mapping[str, np.ndarray], *, draft: bool = False) -> Ready:
        """The candidate with its inputs bound, called once: what runtimes put off until then is done.

        Raises:
            CourseError: it cannot be made, loaded or run here.
        """
        models = [self.open(candidate, draft=draft)]
        pool: ThreadPoolExecutor | None = None

        def close() -> None:
            if pool:
                pool.shutdown()
            for model in models:
                model.close()

        try:
            size = self.file(candidate, draft=draft).stat().st_size
            if candidate.detail == "throughput":
                many = models[0].predict_many  # type: ignore[attr-defined]
                call: Callable[[], object] = lambda: many([feeds] * candidate.streams)  # noqa: E731
            elif candidate.streams > 1:
                models += [self.open(candidate, draft=draft) for _ in range(candidate.streams - 1)]
                pool = ThreadPoolExecutor(candidate.streams, thread_name_prefix="tuning")
                call = lambda: list(pool.map(lambda model: model.predict(feeds), models))  # noqa: E731
            else:
                call = lambda: models[0].predict(feeds)  # noqa: E731
            call()
        except BaseException:
            close()
            raise
        return Ready(call, candidate.streams, models[0].predict, size, close)

    def _make(self, kind: str, draft: bool) -> onnx.ModelProto:
        graph = self.subject.graph
        if kind == "ours":
            return optimize(graph, OptimizerConfig(target="onnxruntime", verify=False)).model
        if kind == "int8-dynamic":
            model, report = to_dynamic(graph, DynamicConfig())
            if not report.quantized:
                raise ConfigError(f"it has no {', '.join(OPS)} to quantize dynamically")
            return model
        calibration = list(self._samples.calibration)
        if kind == "fp16":
            return to_half(graph, HalfConfig("float16"), None if draft else calibration)[0]
        target = kind.removeprefix("int8-")
        if draft:
            return StaticVariants(graph, calibration[:_DRAFT_SAMPLES], StaticConfig(target, "minmax")).build()
        return StaticVariants(graph, calibration, StaticConfig(target, self._observer)).build()


def _kind(candidate: Candidate) -> str:
    """Which file a graph runtime takes; OpenVINO computes in half precision from the float file."""
    if candidate.detail == "ours":
        return "ours"
    if candidate.precision in ("int8", "int8+bf16"):
        return f"int8-{candidate.runtime}"
    if candidate.precision == "int8-dynamic":
        return "int8-dynamic"
    return "fp16" if candidate.precision == "fp16" and candidate.runtime == "onnxruntime" else "float"
