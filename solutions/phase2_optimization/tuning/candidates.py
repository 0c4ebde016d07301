"""The candidates: runtime x precision x threads x graph level, and by name what cannot be tried here.

Their order is a guess at who wins, the cheap first: a good leader makes the duels of all who follow short. What a
candidate can gain over a simpler one that was measured is bounded, too: where even that would not win, it need not be
prepared. Guess and bounds decide what is measured, and never what wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.hardware.profile import usable_cores
from solutions.core.optional import available
from solutions.phase2_optimization.compilation.backends import BACKENDS
from solutions.phase2_optimization.compilation.compilers import cpp_compiler

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int8+bf16", "int8-dynamic")
LEVELS = ("ours", "all", "extended", "basic", "none")
HINTS = ("latency", "throughput")
OBJECTIVES = ("latency", "throughput")

_GRAPH_RUNTIMES = ("onnxruntime", "openvino", "tensorrt")
_TORCH_RUNTIMES = ("pytorch", "torchscript", "inductor", "aot")
RUNTIMES = (*_GRAPH_RUNTIMES, *_TORCH_RUNTIMES)

# At best this share of the time of a simpler candidate. PyTorch's compilers make CPU inference 1.2 to 2 times as fast,
# and end between 0.9 and 2.5 times the time of ONNX Runtime; a lower level of that leaves out rewritings that pay.
_COMPILED_AT_BEST = 1 / 3
_PYTORCH_AT_BEST = 0.6
_COMPILED_OVER_RUNTIME_AT_BEST = 0.4
_LOWER_LEVEL_AT_BEST = 0.75
_SCALING_AT_BEST = 0.9  # threads: perfect scaling, and a little for caches

_LIKELY_FIRST = (
    ("tensorrt", "fp32", ""),
    ("onnxruntime", "fp32", "all"),
    ("openvino", "bf16", "latency"),
    ("onnxruntime", "fp32", "ours"),
    ("openvino", "int8", "latency"),
    ("openvino", "int8+bf16", "latency"),
    ("onnxruntime", "int8", "all"),
    ("openvino", "fp32", "latency"),
    ("openvino", "int8", "throughput"),
    ("openvino", "bf16", "throughput"),
    ("onnxruntime", "int8-dynamic", "all"),
    ("openvino", "fp16", "latency"),
    ("onnxruntime", "fp32", "extended"),
    ("onnxruntime", "fp32", "basic"),
    ("onnxruntime", "fp32", "none"),
    ("onnxruntime", "fp16", "all"),
    ("pytorch", "fp32", ""),
    ("torchscript", "fp32", ""),
    ("inductor", "fp32", ""),
    ("aot", "fp32", ""),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the model.

    Attributes:
        runtime: a name of `BACKENDS`, or "pytorch" for the module as it is.
        precision: of `PRECISIONS`; "int8+bf16" computes in bfloat16 what is not quantized.
        threads: inside one operator.
        detail: ONNX Runtime's graph level ("ours" is this course's optimiser and then all), OpenVINO's hint, else "".
        streams: requests in flight at once, each on `threads` of its own.
    """

    runtime: str
    precision: str = "fp32"
    threads: int = 1
    detail: str = ""
    streams: int = 1

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES or self.precision not in PRECISIONS:
            raise ConfigError(f"there is no candidate {self.runtime} {self.precision}")
        details = {"onnxruntime": LEVELS, "openvino": HINTS}.get(self.runtime, ("",))
        if self.detail not in details:
            raise ConfigError(f"{self.runtime} has {' or '.join(details) or 'no detail'}, got {self.detail!r}")
        if self.threads < 1 or self.streams < 1:
            raise ConfigError(f"threads and streams must be >= 1, got {self.threads} and {self.streams}")

    @property
    def label(self) -> str:
        """What tables call it; what is usual is left out.

        >>> Candidate("openvino", "bf16", 1, "latency").label, Candidate("onnxruntime", "fp32", 2, "basic").label
        ('openvino bf16', 'onnxruntime fp32 basic 2 threads')
        """
        parts = [self.runtime, self.precision]
        parts += [self.detail] if self.detail not in ("", "all", "latency") else []
        parts += [f"{self.threads} threads"] if self.threads > 1 else []
        parts += [f"x{self.streams}"] if self.streams > 1 else []
        return " ".join(parts)

    @property
    def takes_graph(self) -> bool:
        """True when it starts from the ONNX file, false when from the PyTorch module."""
        return self.runtime in _GRAPH_RUNTIMES

    def simpler(self) -> tuple[tuple[Candidate, float], ...]:
        """Candidates that cost less to try, and the share of their time per input that this one takes at best."""
        if self.streams > 1:
            return ()
        if self.threads > 1:
            return ((replace(self, threads=1), _SCALING_AT_BEST / self.threads),)
        plain = Candidate("onnxruntime", "fp32", 1, "all")
        if self.runtime == "pytorch":
            return ((plain, _PYTORCH_AT_BEST),)
        if self.runtime in _TORCH_RUNTIMES:
            return (replace(self, runtime="pytorch"), _COMPILED_AT_BEST), (plain, _COMPILED_OVER_RUNTIME_AT_BEST)
        if self.detail in ("extended", "basic", "none"):
            return ((replace(self, detail=LEVELS[LEVELS.index(self.detail) - 1]), _LOWER_LEVEL_AT_BEST),)
        return ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A candidate that is not tried, and why: a sentence."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to choose from.

    Attributes:
        threads: counts to try; 0 means the usable cores.
        objective: "latency" of one request at a time, or "throughput", which also tries several side by side.
        runtimes: names to try; empty means all.
    """

    threads: tuple[int, ...] = (1, 0)
    objective: str = "latency"
    runtimes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective}")
        unknown = set(self.runtimes) - set(RUNTIMES)
        if unknown:
            raise ConfigError(f"known runtimes are {', '.join(RUNTIMES)}; got {', '.join(sorted(unknown))}")
        if not self.threads or min(self.threads) < 0:
            raise ConfigError(f"threads must be counts >= 1, or 0 for all usable cores; got {self.threads}")

    def thread_counts(self, cores: int) -> tuple[int, ...]:
        """The counts, ascending, 0 replaced by `cores`."""
        return tuple(sorted({count or cores for count in self.threads}))


def list_candidates(
    wanted: Wanted,
    *,
    lacking: Mapping[str, str],
    cores: int | None = None,
) -> tuple[list[Candidate], list[Missing]]:
    """The candidates, likely winners first, and those that cannot be tried.

    Args:
        wanted: what to choose from.
        lacking: "runtime" or "runtime precision" -> why it cannot be tried, as `missing_here` and the model tell.
        cores: that may be used; default those of this machine.
    """
    cores = cores or usable_cores()
    found: list[Candidate] = []
    missing: dict[str, str] = {}
    for runtime, precision, detail in _LIKELY_FIRST:
        if wanted.runtimes and runtime not in wanted.runtimes:
            continue
        reason = lacking.get(runtime) or lacking.get(f"{runtime} {precision}")
        if reason:
            missing.setdefault(runtime if lacking.get(runtime) else f"{runtime} {precision}", reason)
            continue
        found += _with_threads(Candidate(runtime, precision, 1, detail), wanted, cores)
    return found, [Missing(label, reason) for label, reason in missing.items()]


def _with_threads(candidate: Candidate, wanted: Wanted, cores: int) -> list[Candidate]:
    if candidate.detail == "throughput":  # OpenVINO splits the cores into streams by itself
        return [replace(candidate, threads=cores, streams=cores)] if wanted.objective == "throughput" else []
    counts = wanted.thread_counts(cores)
    made = [replace(candidate, threads=count) for count in counts]
    if wanted.objective == "throughput" and candidate.detail == "all":
        made += [replace(candidate, threads=count, streams=cores // count) for count in counts if cores // count > 1]
    return made


def missing_here(names: Sequence[str] = RUNTIMES) -> dict[str, str]:
    """What this machine lacks: "runtime" or "runtime precision" -> a sentence."""
    lacking: dict[str, str] = {"onnxruntime bf16": "ONNX Runtime's CPU provider has no bfloat16 kernels for networks"}
    for name in names:
        known = BACKENDS.get(name)
        if known and not known.is_available:
            lacking[name] = f'not installed: pip install "ml-inference[{known.extra}]"'
    if "openvino" in names and "openvino" not in lacking:
        lacking |= _openvino_precisions()
    if "tensorrt" in names and "tensorrt" not in lacking:
        from solutions.phase2_optimization.compilation.tensorrt_record import present_gpu

        if not present_gpu():
            lacking["tensorrt"] = "an engine runs on an NVIDIA GPU, and there is none here"
    try:
        cpp_compiler("this backend")
    except BackendUnavailable as error:
        lacking |= {name: str(error) for name in ("inductor", "aot")}
    return lacking


def _openvino_precisions() -> dict[str, str]:
    if not available("openvino"):
        return {}
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    no = "this CPU does not compute in {}, so OpenVINO would take float32 instead"
    lacking: dict[str, str] = {}
    if "BF16" not in able:
        lacking |= {"openvino bf16": no.format("bfloat16"), "openvino int8+bf16": no.format("bfloat16")}
    if "FP16" not in able:
        lacking["openvino fp16"] = no.format("float16")
    return lacking
