"""Our graph optimiser and memory planner beside PyPI `onnxsim` and `onnxslim`: nodes, latency, arena.

    python benchmarks/compare_graph_optimizers.py --json out.json

Latencies are ratios to the better of the two, from interleaved runs on ONNX Runtime (one thread, all of its own
optimisations on): what is left there is what the runtime cannot do itself. Random weights, but for YOLOX-nano (found
through MLI_DATA) and files given by --model. A tool that is not installed is listed as such.

Two sessions of one and the same file differ too, by where their weights lie in memory: that is the column "itself". A
graph counts as slower where its whole interval lies above 1; "itself" tells how little that may mean.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx

from solutions.core import scripts
from solutions.core.errors import BackendUnavailable
from solutions.core.measure.profiling import measure_pair
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.optional import require
from solutions.core.zoo.external import external_model
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.memory_plan import plan_memory
from solutions.phase2_optimization.compilation.optimizer import optimize

MODELS = ("mobilenet_v3_small", "ssdlite320_mobilenet_v3_large", "resnet50")
YOLOX = "yolox_nano.onnx"
OVERHEAD_BAR = 1.10  # arena over the bound that liveness gives

Simplify = Callable[[onnx.ModelProto], onnx.ModelProto]


def _onnxsim(model: onnx.ModelProto) -> onnx.ModelProto:
    found: Any = require("onnxsim", why="the comparison", install="make yardsticks").simplify(model)
    made: onnx.ModelProto = found[0] if isinstance(found, tuple) else found
    return made


def _onnxslim(model: onnx.ModelProto) -> onnx.ModelProto:
    made: onnx.ModelProto = require("onnxslim", why="the comparison", install="make yardsticks").slim(model)
    return made


TOOLS: dict[str, Simplify] = {"onnxsim": _onnxsim, "onnxslim": _onnxslim}


def compare(name: str, path: Path, *, rounds: int) -> dict[str, Any]:
    """Everything about one model: nodes and latency ratios per tool, and the memory plan of ours.

    Args:
        name: for the report.
        path: the ONNX file.
        rounds: of each latency ratio.
    """
    original = onnx.load(path)
    start = time.perf_counter()
    ours = optimize(path)
    seconds = time.perf_counter() - start
    result: dict[str, Any] = {
        "model": name,
        "nodes": {"original": len(original.graph.node), "ours": ours.nodes_after},
        "ours_over": {},
        "seconds": seconds,
        "missing": [],
        "report": ours.as_dict(),
    }
    with tempfile.TemporaryDirectory() as folder:
        challenger = _open(ours.model, Path(folder, "ours.onnx"))
        feeds = sample_feeds(challenger)
        result["plan"] = plan_memory(ours.model, {key: array.shape for key, array in feeds.items()}).as_dict()
        rivals: dict[str, Simplify] = {"original": _as_it_is, **TOOLS, "itself": lambda _: ours.model}
        for tool, simplify in rivals.items():
            try:
                made = simplify(onnx.load(path))
            except BackendUnavailable:
                result["missing"].append(tool)
                continue
            if tool != "itself":
                result["nodes"][tool] = len(made.graph.node)
            baseline = _open(made, Path(folder, f"{tool}.onnx"))
            pair = measure_pair(
                lambda model=baseline: model.predict(feeds),  # type: ignore[misc]
                lambda: challenger.predict(feeds),
                rounds=rounds,
            )
            result["ours_over"][tool] = pair.ratio.as_dict()
            baseline.close()
        challenger.close()
    return result


def failures(result: dict[str, Any]) -> list[str]:
    """The bars that a model missed, as sentences. A latency fails where its whole interval lies above 1."""
    found = []
    for tool in TOOLS:
        if tool not in result["nodes"]:
            continue
        if result["nodes"]["ours"] > result["nodes"][tool]:
            found.append(f"{result['model']}: more nodes than {tool}")
        if result["ours_over"][tool]["low"] > 1:
            over, itself = (_cell(result["ours_over"][name]) for name in (tool, "itself"))
            found.append(f"{result['model']}: slower than {tool}, {over}; a second session of ours takes {itself}")
    if result["plan"]["overhead"] > OVERHEAD_BAR:
        found.append(f"{result['model']}: arena {result['plan']['overhead']:.2f} times the bound")
    return found


def _as_it_is(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def _open(model: onnx.ModelProto, path: Path) -> OnnxModel:
    onnx.save(model, path)
    return OnnxModel(path, device="cpu", threads=1)


def _cell(ratio: dict[str, float] | None) -> str:
    return "not here" if ratio is None else f"{ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="Our graph optimiser beside onnxsim and onnxslim.")
    parser.add_argument("--model", action="append", default=[], help="an ONNX file besides the usual three")
    parser.add_argument("--rounds", type=int, default=60, help="interleaved rounds per latency ratio")
    parser.add_argument("--json", help="write the results here")
    args = parser.parse_args(argv)
    data = os.environ.get("MLI_DATA")
    if not data:
        print(f"not run here: {YOLOX} lies in the folder that MLI_DATA names, and it names none", file=sys.stderr)
    files = [*([Path(data) / "models" / YOLOX] if data else []), *map(Path, args.model)]
    paths = {file.stem: file for file in files}
    paths |= {name: external_model(name, random=True) for name in MODELS}
    results = [compare(name, path, rounds=args.rounds) for name, path in paths.items()]
    kinds = ("original", *TOOLS, "ours")
    rows = [(r["model"], *(r["nodes"].get(kind) for kind in kinds)) for r in results]
    render_table("nodes", ("model", *kinds), rows)
    against = ("original", *TOOLS, "itself")
    times = [(r["model"], *(_cell(r["ours_over"].get(tool)) for tool in against)) for r in results]
    render_table("time of ours over theirs (below 1: ours is faster)", ("model", *against), times)
    plans = [
        (
            r["model"],
            r["plan"]["arena_bytes"] / 1e6,
            r["plan"]["bound_bytes"] / 1e6,
            r["plan"]["naive_bytes"] / 1e6,
            r["plan"]["overhead"],
        )
        for r in results
    ]
    render_table("activations", ("model", "arena MB", "bound MB", "naive MB", "arena / bound"), plans)
    missed = [sentence for result in results for sentence in failures(result)]
    for sentence in missed:
        print(sentence, file=sys.stderr)
    if args.json:
        record = {"host": host_record(), "versions": versions_record(("onnx", "onnxruntime", *TOOLS))}
        scripts.write_json(args.json, {**record, "results": results, "missed": missed})
    return scripts.EXIT_FAILED if missed else scripts.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(scripts.run(main))
