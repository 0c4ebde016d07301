"""One network in every format: what makes each of them, from the PyTorch module or from its ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.comparison.source import Source
from benchmarks.comparison.tasks import Task
from benchmarks.comparison.tensorflow_twin import write_saved_model, write_tflite
from solutions.core.errors import BackendUnavailable, ConfigError, CourseError
from solutions.core.tensors import Model
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase1_basics.runtimes.openvino import OpenVinoModel, Precision
from solutions.phase1_basics.runtimes.tflite import TfliteModel
from solutions.phase1_basics.runtimes.torch_model import TorchModel
from solutions.phase2_optimization.compilation.backends import aot, inductor, tensorrt, torchscript
from solutions.phase2_optimization.compilation.source import torch_source
from solutions.phase2_optimization.compilation.tensorrt_engine import build_engine
from solutions.phase2_optimization.compilation.tensorrt_record import present_gpu
from solutions.phase2_optimization.quantization.running import Feeds
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static

Made = tuple[Path | None, Model]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to hold and run the network.

    Attributes:
        key: what --only takes.
        title: what people call it.
        make: its file, if it has one, and the running model.
        precision: a key of `parity.UNITS` where rounding alone explains its differences; empty for int8.
        note: what has to be known about it.
    """

    key: str
    title: str
    make: Callable[[], Made]
    precision: str = "f32"
    note: str = ""


class Formats(AbstractContextManager["Formats"]):
    """Everything that can be made of a network; files go to `folder`, and what is open closes at the end.

    Args:
        source: the network; the first format that runs is the baseline.
        graph: its ONNX graph with every size known but the batch.
        task: for its calibration inputs and the rows that are timed.
        folder: for the files.
        threads: per operator.
        own: the name of a further ONNX graph, and what writes it (the learner's).
    """

    def __init__(
        self,
        source: Source,
        graph: Path,
        task: Task,
        folder: Path,
        *,
        threads: int,
        own: tuple[str, Callable[[TorchModel, Path], Path]],
    ) -> None:
        self._source, self._graph, self._task, self._folder = source, graph, task, folder
        self._threads, self._own = threads, own
        self._stack = ExitStack()
        self._module: TorchModel | CourseError | None = None
        self._saved_model: Path | CourseError | None = None

    def __exit__(self, *_: object) -> None:
        """Close the module."""
        self._stack.close()

    def all(self) -> Iterator[Format]:
        """The formats, in the order of the table."""
        yield Format("eager", "PyTorch eager", self._eager)
        yield Format("compiled", "PyTorch torch.compile", self._compiled, note="just in time")
        yield Format("aot", "PyTorch AOTInductor", self._aot)
        yield Format("torchscript", "TorchScript", self._torchscript, note="legacy")
        yield Format("onnxruntime", "ONNX Runtime", lambda: self._on_ort(self._graph))
        yield Format("onnxruntime-int8", "ONNX Runtime int8", partial(self._int8, "onnxruntime"), "")
        yield Format("own", self._own[0], self._written)
        yield Format("openvino", "OpenVINO", lambda: self._on_openvino(self._graph))
        yield Format("openvino-bf16", "OpenVINO bf16", lambda: self._on_openvino(self._graph, "bf16"), "bf16")
        yield Format("openvino-int8", "OpenVINO int8", partial(self._int8, "openvino"), "")
        yield Format("tensorflow", "TensorFlow SavedModel", self._tensorflow)
        yield Format("litert", "LiteRT", partial(self._litert, ()))
        yield Format("litert-int8", "LiteRT int8", lambda: self._litert(self._task.calibration, int8=True), "")
        yield Format("tensorrt", "TensorRT", self._tensorrt, "tf32")

    def _torch(self) -> TorchModel:
        """The module; opened once, and refused as often as it is asked for where there is none."""
        if self._module is None:
            try:
                self._module = self._stack.enter_context(self._opened())
            except CourseError as error:
                self._module = error
        if isinstance(self._module, CourseError):
            raise self._module
        return self._module

    def _opened(self) -> AbstractContextManager[TorchModel]:
        source = self._source
        return torch_source(source.name, threads=self._threads, random=source.random, options=source.options)

    def _eager(self) -> Made:
        model = self._torch()
        path = embedded(self._source.name).weights if self._source.is_embedded else Path(self._source.name)
        return (path if path.is_file() else None), model

    def _compiled(self) -> Made:
        rows = len(next(iter(self._task.timed.values())))
        return None, inductor.compile_here(self._torch(), threads=self._threads, batch=rows)

    def _aot(self) -> Made:
        out = self._folder / "network.pt2"
        return out, aot.compile_here(self._torch(), out=out, threads=self._threads)

    def _torchscript(self) -> Made:
        out = self._folder / "network.ts"
        return out, torchscript.compile_here(self._torch(), out=out, threads=self._threads)

    def _on_ort(self, path: Path) -> Made:
        return path, OnnxModel(path, device="cpu", threads=self._threads, spinning=False)

    def _on_openvino(self, path: Path, precision: Precision = "f32") -> Made:
        return path, OpenVinoModel(path, device="cpu", threads=self._threads, precision=precision)

    def _int8(self, target: str) -> Made:
        out = self._folder / f"int8-{target}.onnx"
        samples = self._samples()
        quantize_static(self._graph, out, samples, StaticConfig(target, max_samples=len(samples)))
        return self._on_ort(out) if target == "onnxruntime" else self._on_openvino(out)

    def _samples(self) -> Sequence[Feeds]:
        if not self._task.calibration:
            raise ConfigError("int8 needs pictures to calibrate with: --data FOLDER")
        return self._task.calibration

    def _written(self) -> Made:
        with self._opened() as untouched:  # torch.jit.trace leaves marks that torch.fx stumbles over
            return self._on_ort(self._own[1](untouched, self._folder / "own.onnx"))

    def _saved(self) -> Path:
        if self._saved_model is None:
            try:
                self._saved_model = write_saved_model(self._graph, self._folder / "saved", threads=self._threads)
            except CourseError as error:
                self._saved_model = error
        if isinstance(self._saved_model, CourseError):
            raise self._saved_model
        return self._saved_model

    def _tensorflow(self) -> Made:
        path = self._saved()
        return path, load_model(path, device="cpu", threads=self._threads)

    def _litert(self, calibration: Sequence[Feeds], *, int8: bool = False) -> Made:
        if int8:
            self._samples()
        out = self._folder / ("int8.tflite" if int8 else "network.tflite")
        write_tflite(self._saved(), out, calibration=calibration)
        return out, TfliteModel(out, threads=self._threads)

    def _tensorrt(self) -> Made:
        out = self._folder / "network.plan"
        if present_gpu():
            return out, tensorrt.compile_here(self._graph, out=out)
        record = build_engine(self._graph, out)
        raise BackendUnavailable(
            f"built here by {record.kind} {record.version} in {record.build_s:.1f} s, {record.size_bytes / 1e6:.2f} "
            "MB; not run here: an engine runs on an NVIDIA GPU, and there is none"
        )
