"""Prune a model and say what is left of it.

    python -m solutions.phase2_optimization.compression --model street-small --channels 0.3 --out street-pruned.onnx
    python -m solutions.phase2_optimization.compression --model model.onnx --sparsity 0.8 --out model-sparse.onnx

Channels are followed through the PyTorch network, so they need one; zeros can be written into any ONNX file. Accuracy
is not measured here, and most of it is gone until the network has been trained on: `training.train_briefly`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch

from solutions.core.errors import ConfigError
from solutions.core.hardware.model_cost import model_cost
from solutions.core.measure.report import Cell, render_table
from solutions.core.scripts import EXIT_OK, write_json
from solutions.phase1_basics.model_loader import add_torch_options, runtime_options
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase1_basics.runtimes.content import recognise_content
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase1_basics.runtimes.torch_model import TorchModel
from solutions.phase2_optimization.compilation.export import export_model
from solutions.phase2_optimization.compilation.source import eager_module, is_zoo_name, onnx_source, torch_source
from solutions.phase2_optimization.compression.channels import ChannelPruning, prune_channels
from solutions.phase2_optimization.compression.magnitude import graph_weights, magnitude_masks, mask_graph, sparsity_of
from solutions.phase2_optimization.compression.two_four import pack, two_four_masks
from solutions.phase2_optimization.quantization.saving import save_model

SCHEMA = "ml-inference/compression/1"


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What an ONNX file holds: parameters and share of zeros among the weights, operations, bytes."""

    weights: int
    zeros: float
    gflops: float
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Compressed:
    """A model before and after; `details` are ready for JSON, `notes` are sentences for people."""

    model: str
    out: Path
    before: GraphFacts
    after: GraphFacts
    details: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The facts, ready for JSON."""
        facts = {
            when: {
                "weights": each.weights,
                "zeros": each.zeros,
                "gflops": each.gflops,
                "file_bytes": each.file_bytes,
            }
            for when, each in (("before", self.before), ("after", self.after))
        }
        return {"schema": SCHEMA, "model": self.model, "out": str(self.out), **facts, **self.details}


def graph_facts(path: Path) -> GraphFacts:
    """The facts of one file; operations are those of a batch of one in the size that the model was made for."""
    model = OnnxModel(path, device="cpu", threads=1)
    shapes = {name: array.shape for name, array in sample_feeds(model).items()}
    model.close()
    weights = graph_weights(onnx.load(str(path)))
    count = sum(weight.size for weight in weights.values())
    return GraphFacts(count, sparsity_of(weights).total, model_cost(path, shapes).flops / 1e9, path.stat().st_size)


def compress_channels(
    model: str, out: Path, settings: ChannelPruning, *, random: bool, options: dict[str, Any]
) -> Compressed:
    """Take channels out of a PyTorch network and export what is left.

    Raises:
        ConfigError: it is an ONNX file, or its channels cannot be followed.
        ModelLoadError: it cannot be loaded, captured or exported.
    """
    if not is_zoo_name(model) and Path(model).is_file() and recognise_content(Path(model)).kind == "onnx":
        raise ConfigError(
            f"{model} is an ONNX file, and channels are taken out of PyTorch networks, which can be trained on "
            "afterwards: give the PyTorch file or the name of a zoo model, or use --sparsity or --two-four."
        )
    with torch_source(model, threads=1, random=random, options=options) as loaded, tempfile.TemporaryDirectory() as tmp:
        if isinstance(loaded.module, torch.fx.GraphModule):
            raise ConfigError(
                f"{model} is an exported program, whose sizes are all written down: give the weights with --arch, or "
                "the name of a zoo model, or prune the module in Python before it is exported."
            )
        module = eager_module(loaded)
        feeds = sample_feeds(loaded, batch=2)
        example = tuple(torch.from_numpy(feeds[spec.name]) for spec in loaded.inputs)
        pruned = prune_channels(module, example, settings)
        smaller = TorchModel(
            pruned.module,
            name=f"{loaded.name}-pruned",
            format=loaded.format,
            device=torch.device("cpu"),
            inputs=loaded.inputs,
            outputs=loaded.outputs,
            threads=1,
            metadata={key: fact for key, fact in loaded.metadata.items() if key != "arch"},  # it no longer is that
        )
        before = graph_facts(onnx_source(model, workshop=Path(tmp), random=random, options=options))
        out.parent.mkdir(parents=True, exist_ok=True)
        export_model(smaller, out)
    stopped = ", ".join(f"{name} ({count})" for name, count in pruned.barriers.items())
    notes = [f"channels were not followed through: {stopped}"] if stopped else []
    if not pruned.channels:
        notes.append("nothing was removed: a larger share or a smaller --round-to may find something")
    return Compressed(model, out, before, graph_facts(out), pruned.as_dict(), notes)


def compress_weights(
    model: str, out: Path, sparsity: float | None, scope: Any, *, random: bool, options: dict[str, Any]
) -> Compressed:
    """Write zeros into the weights of an ONNX graph: the smallest, or (`sparsity` None) two of each four.

    Raises:
        CourseError: the model cannot be loaded or exported, or the setting cannot be used.
    """
    with tempfile.TemporaryDirectory() as tmp:
        source = onnx_source(model, workshop=Path(tmp), random=random, options=options)
        before = graph_facts(source)
        graph = onnx.load(str(source))
    rule = two_four_masks if sparsity is None else partial(magnitude_masks, sparsity=sparsity, scope=scope)
    masked = mask_graph(graph, rule(graph_weights(graph)))
    save_model(masked, out)
    details: dict[str, Any] = {"sparsity": sparsity_of(graph_weights(masked)).as_dict()}
    notes = ["a dense kernel multiplies zeros as well: expect the same latency"]
    if sparsity is None:
        packed = [
            pack(weight) for name, weight in graph_weights(masked).items() if name in two_four_masks({name: weight})
        ]
        details["packed_bytes"] = sum(each.nbytes for each in packed)
        notes = [
            f"packed, the {len(packed)} sparse weights take {details['packed_bytes'] / 1e6:.2f} MB; NVIDIA tensor "
            "cores of compute capability 8.0 or newer can skip the zeros (16- and 8-bit), a CPU gains nothing"
        ]
    return Compressed(model, out, before, graph_facts(out), details, notes)


def render(done: Compressed) -> None:
    """Print what is left."""
    pairs = (
        ("weights", done.before.weights, done.after.weights),
        ("zeros among them", done.before.zeros, done.after.zeros),
        ("GFLOP", done.before.gflops, done.after.gflops),
        ("file MB", done.before.file_bytes / 1e6, done.after.file_bytes / 1e6),
    )
    rows: list[Sequence[Cell]] = [
        (name, before, after, f"{after / before:.0%}" if before else "-") for name, before, after in pairs
    ]
    render_table(f"{Path(done.model).name} -> {done.out}", ("", "before", "after", "left"), rows)
    for note in done.notes:
        print(note)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Prune a model and say what is left of it.")
    parser.add_argument("--model", required=True, help="a model file or the name of a zoo model")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--channels", type=float, metavar="SHARE", help="take this share of the channels out (PyTorch)")
    what.add_argument("--sparsity", type=float, metavar="SHARE", help="make this share of the weights zero")
    what.add_argument("--two-four", action="store_true", help="make two of each four weights zero")
    parser.add_argument("--out", required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument(
        "--scope",
        choices=("local", "global", "lamp"),
        help="compare within layers, or all by size, or all by their share of the layer (default: local for channels, "
        "lamp for weights)",
    )
    parser.add_argument("--importance", choices=("l1", "l2", "bn"), default="l2", help="of a channel (%(default)s)")
    parser.add_argument("--round-to", type=int, default=8, metavar="N", help="channels in a block (%(default)s)")
    parser.add_argument("--random", action="store_true", help="untrained weights of a zoo model: no download")
    add_torch_options(parser)
    parser.add_argument("--json", metavar="FILE", help=f"write the report (schema {SCHEMA})")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, prune, render."""
    args = parse_args(argv)
    options = runtime_options(args)
    out = Path(args.out)
    if args.channels is not None:
        if args.scope == "lamp":
            raise ConfigError("--scope lamp is for --sparsity: channels are compared local or global")
        scope: Any = "global" if args.scope == "global" else "group"
        settings = ChannelPruning(args.channels, scope, args.importance, args.round_to)
        done = compress_channels(args.model, out, settings, random=args.random, options=options)
    else:
        scope = {"local": "layer"}.get(args.scope, args.scope or "lamp")
        done = compress_weights(args.model, out, args.sparsity, scope, random=args.random, options=options)
    render(done)
    if args.json:
        write_json(args.json, done.as_dict())
    return EXIT_OK
