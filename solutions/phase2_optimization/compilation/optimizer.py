"""The graph optimiser: passes over an ONNX graph until nothing changes, each checked, each reported.

    python -m solutions.phase2_optimization.compilation.optimizer model.onnx --out small.onnx

A pass that changes the answers by more than rounding explains is undone, named in the report and not run again: the
file that comes out is right even where a pass is not. What is left to the runtime, and why:

* Conv + Add and Conv + activation. ONNX has no such node. ONNX Runtime has one and makes it by itself, in the blocked
  layout (all 16 residual sums and 49 ReLUs of ResNet-50); in the file it would bind it to one runtime and gain nothing.
* Layout. See `passes.merge_transposes`.

`target="onnxruntime"` allows the one contrib operator that shortens files, QuickGelu for SiLU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from solutions.core import scripts
from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.measure.report import render_table
from solutions.phase1_basics.profiling.feeds import has_free_batch, sample_feeds
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation import parity
from solutions.phase2_optimization.compilation.parity import Agreement
from solutions.phase2_optimization.compilation.passes import (
    cascade_pools,
    fold_batchnorm,
    fold_constants,
    fold_focus,
    merge_casts,
    merge_duplicates,
    merge_reshapes,
    merge_transposes,
    remove_dead,
    remove_identities,
    rewrite_global_pool,
    rewrite_hardswish,
    rewrite_silu,
)
from solutions.phase2_optimization.compilation.passes.prepare import prepared

Target = Literal["portable", "onnxruntime"]
Pass = Callable[[onnx.ModelProto], int]
"""Changes a model in place and returns the number of changes; 0 means that the model is as it was."""

_UNIT = 2.0**-24


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """What the optimiser may do.

    Attributes:
        target: "portable" keeps to ONNX's own operators; "onnxruntime" also uses that runtime's.
        input_shapes: fixes free sizes, which lets more be folded; by input name.
        fold_limit_bytes: by how much one folded constant may make the file grow.
        verify: compare the answers after every pass that changed something.
        rounds: the passes are run over and over until nothing changes, at most this often.
    """

    target: Target = "portable"
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fold_limit_bytes: int = fold_constants.LIMIT_BYTES
    verify: bool = True
    rounds: int = 10

    def __post_init__(self) -> None:
        if self.target not in ("portable", "onnxruntime"):
            raise ConfigError(f"target must be portable or onnxruntime, got {self.target}")
        if self.fold_limit_bytes < 0 or self.rounds < 1:
            raise ConfigError(
                f"fold_limit_bytes must be >= 0 and rounds >= 1, got {self.fold_limit_bytes} and {self.rounds}"
            )


@dataclass(slots=True)
class PassReport:
    """One pass over all rounds: changes made, nodes it took away (negative: added), seconds, why it was undone."""

    name: str
    changes: int = 0
    nodes_removed: int = 0
    seconds: float = 0.0
    undone: str = ""


@dataclass(frozen=True, slots=True)
class Optimized:
    """The optimised model and what was done to it; `agreement` is None where nothing was verified."""

    model: onnx.ModelProto
    nodes_before: int
    nodes_after: int
    passes: tuple[PassReport, ...]
    agreement: Agreement | None

    def as_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "passes": [asdict(report) for report in self.passes],
            "agreement": self.agreement.as_dict() if self.agreement else None,
        }


def passes_for(config: OptimizerConfig) -> dict[str, Pass]:
    """The passes by name, in the order in which they run."""
    return {
        "fold_constants": partial(fold_constants.run, limit_bytes=config.fold_limit_bytes),
        "remove_identities": remove_identities.run,
        "merge_duplicates": merge_duplicates.run,
        "merge_casts": merge_casts.run,
        "merge_transposes": merge_transposes.run,
        "merge_reshapes": merge_reshapes.run,
        "fold_batchnorm": fold_batchnorm.run,
        "fold_focus": fold_focus.run,
        "rewrite_hardswish": rewrite_hardswish.run,
        "rewrite_silu": partial(rewrite_silu.run, contrib=config.target == "onnxruntime"),
        "rewrite_global_pool": rewrite_global_pool.run,
        "cascade_pools": cascade_pools.run,
        "remove_dead": remove_dead.run,
    }


def optimize(
    model: str | Path | onnx.ModelProto,
    config: OptimizerConfig | None = None,
    *,
    passes: Mapping[str, Pass] | None = None,
) -> Optimized:
    """A smaller model with the same answers; `model` itself is not changed.

    Args:
        model: an ONNX file, or the model.
        config: what may be done.
        passes: others than `passes_for(config)`.

    Raises:
        ModelLoadError: no usable model, or more than 2 GB of it.
        ConfigError: the model cannot be run to verify it, or an input shape does not fit.
    """
    config = config or OptimizerConfig()
    work = prepared(model, config.input_shapes)
    before = len(work.graph.node)
    todo = dict(passes if passes is not None else passes_for(config))
    with tempfile.TemporaryDirectory(prefix="optimizer-") as folder:
        check = _Check(work, Path(folder, "model.onnx")) if config.verify else None
        work, reports, agreement = _until_nothing_changes(work, todo, check, config.rounds)
    onnx.checker.check_model(work)
    return Optimized(work, before, len(work.graph.node), reports, agreement)


def _until_nothing_changes(
    work: onnx.ModelProto, todo: dict[str, Pass], check: _Check | None, rounds: int
) -> tuple[onnx.ModelProto, tuple[PassReport, ...], Agreement | None]:
    reports = {name: PassReport(name) for name in todo}
    agreement = check.compare(work) if check else None
    for _ in range(rounds):
        changed = False
        for name, apply in list(todo.items()):
            report = reports[name]
            old = onnx.ModelProto()
            old.CopyFrom(work)
            start = time.perf_counter()
            changes = apply(work)
            report.seconds += time.perf_counter() - start
            if not changes:
                continue
            found = check.compare(work) if check else None
            if found is not None and not found.agrees:
                report.undone = found.describe()
                work = old
                del todo[name]
                continue
            changed = True
            agreement = found
            report.changes += changes
            report.nodes_removed += len(old.graph.node) - len(work.graph.node)
        if not changed:
            break
    return work, tuple(reports.values()), agreement


class _Check:
    """The answers of the model as it was, and how far another one may be from them."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self._path = path
        reference = self._load(model)
        batches = (1, 3) if has_free_batch(reference) else (1,)
        self._feeds = [sample_feeds(reference, batch=batch, seed=seed) for seed, batch in enumerate(batches)]
        self._answers = [reference.predict(feeds) for feeds in self._feeds]
        amplified = max(1.0, parity.measure_amplification(reference, self._feeds[0]))
        # the derived tolerance counts layers with weights; every other node rounds once
        others = len(model.graph.node) * _UNIT * amplified
        self._tolerance = parity.rounding_tolerance(model, amplification=amplified) + others
        reference.close()

    def compare(self, model: onnx.ModelProto) -> Agreement:
        try:
            candidate = self._load(model)
            found = [
                parity.outputs_agree(want, candidate.predict(feeds), tolerance=self._tolerance)
                for feeds, want in zip(self._feeds, self._answers, strict=True)
            ]
        except (ModelLoadError, ConfigError) as error:
            return Agreement(np.inf, self._tolerance, note=f"it does not run any more: {error}")
        candidate.close()
        return max(found, key=lambda agreement: agreement.worst)

    def _load(self, model: onnx.ModelProto) -> OnnxModel:
        onnx.save(model, self._path)
        return OnnxModel(self._path, device="cpu", threads=1, graph_level="none")


def main(argv: Sequence[str] | None = None) -> int:
    """Optimise a file and print what each pass did."""
    parser = argparse.ArgumentParser(description="Make an ONNX graph smaller; its answers stay.")
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("--out", required=True, help="where the optimised file goes")
    parser.add_argument("--target", choices=("portable", "onnxruntime"), default="portable")
    parser.add_argument("--no-verify", action="store_true", help="do not run the model after each pass")
    parser.add_argument("--json", help="write the report here")
    args = parser.parse_args(argv)
    done = optimize(args.model, OptimizerConfig(target=args.target, verify=not args.no_verify))
    onnx.save(done.model, args.out)
    rows = [(p.name, p.changes, p.nodes_removed, p.undone) for p in done.passes]
    render_table("passes", ("pass", "changes", "nodes removed", "undone"), rows)
    print(f"nodes: {done.nodes_before} -> {done.nodes_after}")
    if done.agreement:
        print(done.agreement.describe())
    if args.json:
        scripts.write_json(args.json, done.as_dict())
    return scripts.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(scripts.run(main))
