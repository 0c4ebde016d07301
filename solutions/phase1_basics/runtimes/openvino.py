"""OpenVINO IR (.xml + .bin) on OpenVINO; it also reads ONNX files, for those who want to compare the runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.core.hardware.profile import usable_cores
from solutions.core.optional import require
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.content import recognise_content
from solutions.phase1_basics.runtimes.feeds import check_settings, checked_feeds, image_layout, one_line, sizes

INSTALL = 'pip install "ml-inference[openvino]"'

Precision = Literal["f32", "bf16", "f16"]
Hint = Literal["latency", "throughput"]

_PRECISIONS = ("f32", "bf16", "f16")
_HINTS = ("latency", "throughput")


class OpenVinoModel:
    """A model compiled by OpenVINO; satisfies `Model`, and also tells the file's `metadata`.

    Args:
        path: an OpenVINO .xml with its .bin beside it, or an ONNX file.
        device: "cpu", "gpu", "gpu.1", "npu"; "auto" takes the CPU, as an integrated GPU is not always faster.
        threads: threads inside one inference on the CPU; default the usable cores.
        precision: arithmetic of the inference. OpenVINO would take bf16 by itself where the CPU has it, which costs
            about three decimal digits without a word; so it is f32 unless asked otherwise.
        hint: what OpenVINO tunes for. "throughput" gives streams that only several threads of ours could fill.
        cache_dir: folder where OpenVINO keeps what it compiled, so that the next start is quicker; created when absent.

    Raises:
        ModelLoadError: not a usable model, or its weights are missing or short.
        BackendUnavailable: OpenVINO or the device is not here.
        ConfigError: a setting is unknown or out of range.
    """

    format = "openvino"

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Precision = "f32",
        hint: Hint = "latency",
        cache_dir: str | Path | None = None,
    ) -> None:
        path = Path(path)
        if precision not in _PRECISIONS:
            raise ConfigError(f"precision must be one of {', '.join(_PRECISIONS)}, got {precision}")
        if hint not in _HINTS:
            raise ConfigError(f"hint must be one of {', '.join(_HINTS)}, got {hint}")
        openvino = require("openvino", why="an OpenVINO model", install=INSTALL)
        core = openvino.Core()
        name = _device(core, device)
        graph = _read(core, path)
        settings: dict[str, Any] = {"PERFORMANCE_HINT": hint.upper(), "INFERENCE_PRECISION_HINT": precision}
        if cache_dir is not None:
            settings["CACHE_DIR"] = str(cache_dir)
        self.threads = threads or usable_cores()
        if name == "CPU":
            settings["INFERENCE_NUM_THREADS"] = self.threads
            # Pinned threads of two processes meet on the same cores while others idle (Intel support, 000058227).
            settings["ENABLE_CPU_PINNING"] = False
        try:
            compiled = core.compile_model(graph, name, settings)
        except Exception as error:  # OpenVINO raises RuntimeError, and TypeError for settings
            raise ModelLoadError(f"OpenVINO cannot compile {path} for {name}: {one_line(error)}") from error
        self.name = path.stem
        self.device = name.lower()
        self.inputs = _specs(path, compiled.inputs, "input")
        self.outputs = _specs(path, compiled.outputs, "output")
        self.metadata = {"precision": precision, **image_layout(self.inputs)}
        self._request = compiled.create_infer_request()

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name for one array per input.

        Raises:
            ConfigError: an input is missing, unknown, or of the wrong shape or dtype, or the graph refuses the sizes.
            PipelineStopped: the model was closed.
        """
        if self._request is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        arrays = checked_feeds(self.name, self.inputs, feeds)
        try:
            # inputs are only read while we wait here, so they need no copy; outputs live in the request, so they do
            answer = self._request.infer(dict(enumerate(arrays)), share_inputs=True, share_outputs=False)
        except Exception as error:  # RuntimeError, TypeError and ValueError, by what is wrong
            raise ConfigError(f"{self.name} cannot run with {sizes(self.inputs, arrays)}: {one_line(error)}") from error
        values = answer.to_tuple()
        if any(value.shape.count(0) > 1 for value in values):  # one empty axis is a list without entries: no detections
            raise ConfigError(
                f"{self.name} gives an empty answer for {sizes(self.inputs, arrays)}: smaller than the model's kernels."
            )
        return {spec.name: np.asarray(value, order="C") for spec, value in zip(self.outputs, values, strict=True)}

    def close(self) -> None:
        """Free what OpenVINO compiled; predict raises afterwards. May be called twice."""
        self._request = None


def load_openvino(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> OpenVinoModel:
    """An `OpenVinoModel`; what the registry calls. `options` may hold `precision`, `hint` and `cache_dir`.

    Raises:
        ConfigError: an option that OpenVINO does not have here, besides what OpenVinoModel raises.
    """
    check_settings("OpenVINO", threads, options, ("precision", "hint", "cache_dir"))
    return OpenVinoModel(path, device=device, threads=threads, **options)


def _device(core: Any, device: str) -> str:
    """OpenVINO's name of the device."""
    name = "CPU" if device == "auto" else device.upper().replace(":", ".")
    if name.partition(".")[0] not in ("CPU", "GPU", "NPU"):
        raise ConfigError(f"device must be auto, cpu, gpu, gpu.N or npu for OpenVINO models, got {device}")
    present = core.available_devices
    if not any(name in (each, each.partition(".")[0]) for each in present):
        raise BackendUnavailable(
            f"OpenVINO finds no {name} here; it finds {', '.join(present) or 'nothing'}. "
            "Use one of these, or install the driver of the device."
        )
    return name


def _read(core: Any, path: Path) -> Any:
    is_onnx = recognise_content(path).kind == "onnx"
    if is_onnx:
        # the weights outside an ONNX file are checked where ONNX files are read, lest they lead anywhere
        from solutions.phase1_basics.runtimes.onnx import read_checked

        read_checked(path)
    weights = path.with_suffix(".bin")
    try:
        if is_onnx or not weights.exists():
            return core.read_model(path)
        return core.read_model(path, weights)
    except Exception as error:  # OpenVINO's own errors are RuntimeErrors; bad types give TypeError
        if not is_onnx and not weights.exists() and "eights" in str(error):
            raise ModelLoadError(
                f"{path} keeps its weights in {weights.name}, which is not beside it. Copy both files."
            ) from error
        if "Incorrect weights in bin file" in str(error):
            raise ModelLoadError(
                f"{weights} is truncated or belongs to another model than {path.name}. Copy both files again."
            ) from error
        raise ModelLoadError(f"OpenVINO cannot read {path}: {one_line(error)}") from error


def _specs(path: Path, ports: Any, kind: str) -> tuple[TensorSpec, ...]:
    specs: list[TensorSpec] = []
    for index, port in enumerate(ports):
        name = port.get_any_name().removesuffix(":0") if port.get_names() else f"{kind}_{index}"
        if any(spec.name == name for spec in specs):
            name = f"{name}_{index}"
        element, shape = port.get_element_type(), port.get_partial_shape()
        try:
            dtype = np.dtype(element.to_dtype())
        except RuntimeError:  # bfloat16 and the 4-bit types have no NumPy counterpart
            dtype = np.dtype("V")
        if dtype.kind not in "biuf":
            raise ModelLoadError(
                f"{path}: {name} is a {element.get_type_name()} tensor; only numeric and bool tensors can be used here."
            )
        if shape.rank.is_dynamic:
            raise ModelLoadError(f"{path}: the number of axes of {name} is unknown. Convert it with a fixed number.")
        specs.append(
            TensorSpec(name, tuple(None if size.is_dynamic else size.get_length() for size in shape), dtype.name)
        )
    return tuple(specs)
