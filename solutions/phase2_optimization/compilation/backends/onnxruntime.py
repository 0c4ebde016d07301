"""ONNX Runtime: graph levels, the optimised graph as a file, threads, and buffers bound once for a hot loop."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from solutions.core.errors import ConfigError, ModelLoadError, PipelineStopped
from solutions.phase1_basics.runtimes.onnx import GRAPH_LEVELS, GraphLevel, OnnxModel, read_checked
from solutions.phase2_optimization.compilation.onnx_errors import explain_onnx_error


def compile_here(
    model: str | Path,
    *,
    out: str | Path | None = None,
    threads: int | None = None,
    device: str = "cpu",
    graph_level: GraphLevel = "all",
    spinning: bool = True,
    io_binding: bool = False,
) -> OnnxModel:
    """The ONNX file in a session.

    Args:
        model: an ONNX file.
        out: also write the optimised graph there, and run that: later starts need no optimisation. A graph optimised
            to "all" is laid out for this CPU's vector width and belongs on machines like this one; "extended" travels.
        threads: inside one operator; default the usable cores.
        device: as `OnnxModel` takes it.
        graph_level: how far ONNX Runtime rewrites: "none", "basic", "extended", "all".
        spinning: see `OnnxModel`.
        io_binding: a `BoundOnnxModel`.

    Raises:
        ModelLoadError, BackendUnavailable, ConfigError: see `OnnxModel`.
    """
    path = Path(model)
    if out is not None:
        save_optimised(path, Path(out), graph_level=graph_level)
        path, graph_level = Path(out), "none"
    kind = BoundOnnxModel if io_binding else OnnxModel
    return kind(path, device=device, threads=threads, graph_level=graph_level, spinning=spinning)


def save_optimised(path: Path, out: Path, *, graph_level: GraphLevel = "extended") -> Path:
    """Write the graph as ONNX Runtime optimises it for the CPU; `out` comes back.

    Raises:
        ConfigError: an unknown level, or a place that cannot be written.
        ModelLoadError: a graph that ONNX Runtime does not take.
    """
    if graph_level not in GRAPH_LEVELS:
        raise ConfigError(f"graph_level must be one of {', '.join(GRAPH_LEVELS)}, got {graph_level}")
    if not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: {out.parent} is not a folder. Create it, or choose another place.")
    read_checked(path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = GRAPH_LEVELS[graph_level]
    draft = out.with_name(f".draft-{out.name}")
    options.optimized_model_filepath = str(draft)
    options.log_severity_level = 4  # it warns that "all" is for machines like this one: said in the docstring
    options.intra_op_num_threads = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        draft.replace(out)
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ModelLoadError(f"ONNX Runtime cannot optimise {path}: {explain_onnx_error(error)}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return out


class BoundOnnxModel(OnnxModel):
    """An `OnnxModel` whose buffers are bound once per set of input sizes and used again.

    `predict` keeps the contract of every model (its answers belong to the caller, so they are copied). A hot loop that
    reads its answers before the next call takes `run_bound`, which allocates and copies nothing but the input.
    """

    def __init__(self, path: str | Path, **settings: Any) -> None:
        super().__init__(path, **settings)
        self._bound: dict[tuple[tuple[int, ...], ...], _Bound] = {}

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, the caller's own; errors as `OnnxModel.predict`."""
        return {name: value.copy() for name, value in self.run_bound(feeds).items()}

    def run_bound(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, in buffers that the next call with the same sizes overwrites."""
        if self._session is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        if feeds.keys() != {spec.name for spec in self.inputs}:
            raise ConfigError(
                f"{self.name} takes the inputs {sorted(spec.name for spec in self.inputs)}, got {sorted(feeds)}"
            )
        for spec in self.inputs:
            spec.check(feeds[spec.name])
        sizes = tuple(feeds[spec.name].shape for spec in self.inputs)
        bound = self._bound.get(sizes)
        if bound is None:
            # the first run of these sizes tells the sizes of the outputs, and refuses what the graph does not take
            answers = super().predict(feeds)
            self._bound[sizes] = _Bound(self._session, feeds, answers)
            return self._bound[sizes].outputs
        return bound.run(feeds)

    def close(self) -> None:
        """Free the session and the buffers."""
        self._bound.clear()
        super().close()


class _Bound:
    """Input and output arrays of one set of sizes, known to the session by address."""

    def __init__(self, session: Any, feeds: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray]) -> None:
        self._session = session
        self._inputs = {name: np.ascontiguousarray(array).copy() for name, array in feeds.items()}
        self.outputs = {name: np.ascontiguousarray(array) for name, array in answers.items()}
        self._binding = session.io_binding()
        for name, array in self._inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, array in feeds.items():
            np.copyto(self._inputs[name], array)
        self._session.run_with_iobinding(self._binding)
        return self.outputs
