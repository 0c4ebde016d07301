"""OpenVINO: LATENCY and THROUGHPUT hints, the compile cache, the graph as IR, and requests that run side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from solutions.core.errors import ConfigError, ModelLoadError, PipelineStopped
from solutions.core.optional import require
from solutions.phase1_basics.runtimes.feeds import checked_feeds, one_line
from solutions.phase1_basics.runtimes.onnx import read_checked
from solutions.phase1_basics.runtimes.openvino import INSTALL, Hint, OpenVinoModel, Precision


def compile_here(
    model: str | Path,
    *,
    out: str | Path | None = None,
    threads: int | None = None,
    device: str = "cpu",
    precision: Precision = "f32",
    hint: Hint = "latency",
    cache_dir: str | Path | None = None,
) -> OpenVinoModel:
    """The graph compiled by OpenVINO; a `ParallelOpenVinoModel` with the hint "throughput".

    Args:
        model: an ONNX file or an OpenVINO .xml.
        out: also write the graph as OpenVINO IR (.xml, its weights beside it in a .bin), and compile that.
        threads: on the CPU, over all requests; default the usable cores.
        device: as `OpenVinoModel` takes it.
        precision: "f32" unless asked otherwise: OpenVINO itself would take bf16 where the CPU has it.
        hint: "latency" or "throughput".
        cache_dir: keep what was compiled there; the second start is several times quicker.

    Raises:
        ModelLoadError, BackendUnavailable, ConfigError: see `OpenVinoModel`.
    """
    path = Path(model)
    if out is not None:
        path = save_ir(path, Path(out))
    kind = ParallelOpenVinoModel if hint == "throughput" else OpenVinoModel
    return kind(path, device=device, threads=threads, precision=precision, hint=hint, cache_dir=cache_dir)


def save_ir(path: Path, out: Path) -> Path:
    """Write the graph as OpenVINO IR; `out` comes back.

    Raises:
        ConfigError: the place cannot be written.
        ModelLoadError: OpenVINO does not take the graph.
    """
    if out.suffix != ".xml":
        raise ConfigError(f"OpenVINO writes .xml files with a .bin beside them, got {out.name}")
    if not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: {out.parent} is not a folder. Create it, or choose another place.")
    openvino = require("openvino", why="an OpenVINO model", install=INSTALL)
    if path.suffix != ".xml":
        read_checked(path)
    try:
        # weights in float16 are its default; whoever asks for f32 means it
        openvino.save_model(openvino.Core().read_model(path), out, compress_to_fp16=False)
    except Exception as error:  # RuntimeError of the C++ side, TypeError for settings
        raise ModelLoadError(f"OpenVINO cannot convert {path}: {one_line(error)}") from error
    return out


class ParallelOpenVinoModel(OpenVinoModel):
    """An `OpenVinoModel` with the throughput hint that also answers many inputs side by side.

    The hint splits the cores into streams. One `predict` at a time fills one of them and leaves the others idle;
    `predict_many` keeps as many requests in flight as OpenVINO calls optimal.
    """

    def predict_many(self, feeds: Iterable[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        """The outputs for each set of inputs, in their order.

        Raises:
            ConfigError: an input does not fit, or the graph refuses its sizes.
            PipelineStopped: the model was closed.
        """
        if self._request is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        openvino = require("openvino", why="an OpenVINO model", install=INSTALL)
        answers: dict[int, dict[str, np.ndarray]] = {}

        def keep(request: object, index: int) -> None:
            tensors = [request.get_output_tensor(i).data for i in range(len(self.outputs))]  # type: ignore[attr-defined]
            answers[index] = {
                spec.name: np.array(tensor, order="C") for spec, tensor in zip(self.outputs, tensors, strict=True)
            }

        queue = openvino.AsyncInferQueue(self._request.get_compiled_model())
        queue.set_callback(keep)
        count = 0
        try:
            for count, each in enumerate(feeds, start=1):
                arrays = checked_feeds(self.name, self.inputs, each)
                queue.start_async(dict(enumerate(arrays)), count - 1)
            queue.wait_all()
        except RuntimeError as error:
            raise ConfigError(f"{self.name} cannot run with these inputs: {one_line(error)}") from error
        return [answers[index] for index in range(count)]
