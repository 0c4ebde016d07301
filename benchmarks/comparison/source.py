"""The network that is compared: a name of the zoo or a file, as one float ONNX file with the task that judges it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparison.street_tasks import street_task
from benchmarks.comparison.tasks import Task, agreement_task, random_task
from solutions.core.errors import ConfigError
from solutions.core.zoo.registry import embedded_names
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.source import is_zoo_name, onnx_source

DEFAULT_MODEL = "street-small"


@dataclass(frozen=True, slots=True)
class Source:
    """What is compared.

    Attributes:
        name: as the user gave it.
        graph: the float ONNX file.
        random: untrained weights: right for timing, and nothing is downloaded.
        options: for the loader of PyTorch files.
    """

    name: str
    graph: Path
    random: bool
    options: dict[str, Any]

    @property
    def is_embedded(self) -> bool:
        """True for the models that come with the course."""
        return self.name in embedded_names() and not Path(self.name).exists()


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """What both benchmarks ask about the network and its data."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME|FILE",
        help="a model of the zoo, an ONNX file or a PyTorch file (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--trained", action="store_true", help="torchvision's trained weights (downloaded once)")
    parser.add_argument("--arch", help="the network of a PyTorch file that holds weights only")
    parser.add_argument("--data", metavar="FOLDER", help="pictures, or .npz samples: half calibrate, half judge")
    parser.add_argument("--pixels", choices=sorted(PIXEL_FORMATS), help="how the model sees them, if it does not tell")
    parser.add_argument("--resize", choices=("crop", "stretch", "letterbox"), help="likewise")
    parser.add_argument(
        "--samples",
        type=int,
        default=200,
        help="pictures to judge by; from --data, half of them (default: %(default)s)",
    )
    parser.add_argument("--batch", type=int, help="rows that are timed at once (default: 1; street-classifier: 8)")
    parser.add_argument("--rounds", type=int, default=30, help="of each interleaved pair (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="per operator, in every runtime (default: %(default)s)")


def open_source(args: argparse.Namespace, workshop: Path) -> Source:
    """The network that the arguments name; files that are made for it go to `workshop`.

    Raises:
        ConfigError: a number out of range.
        CourseError: the model cannot be had.
    """
    if min(args.samples, args.batch or 1, args.rounds, args.threads) < 1 or args.samples < 2:
        raise ConfigError("--batch, --rounds and --threads must be at least 1, and --samples at least 2")
    random = is_zoo_name(args.model) and args.model not in embedded_names() and not args.trained
    options = {"arch": args.arch} if args.arch else {}
    graph = onnx_source(args.model, workshop=workshop, random=random, options=options)
    return Source(args.model, graph, random, options)


def task_of(source: Source, args: argparse.Namespace, *, needs_data: bool) -> Task:
    """What judges the network: pictures of --data, the street it was made for, or random inputs.

    Args:
        source: the network.
        args: as `add_source_options` has them.
        needs_data: refuse random inputs, on which nothing can be calibrated.

    Raises:
        ConfigError, ImageError: no data, or data that cannot be used.
    """
    if args.data is None and source.is_embedded:
        return street_task(source.name, pictures=args.samples, batch=args.batch or 8)
    if args.data is None and needs_data:
        raise ConfigError(
            f"{source.name} brings no data of its own to calibrate with and to be judged by: give pictures like those "
            f"that it will see with --data FOLDER, or take a model that does: {', '.join(embedded_names())}"
        )
    model = OnnxModel(source.graph, device="cpu", threads=args.threads, spinning=False)
    try:
        if args.data is None:
            return random_task(source.graph, model, batch=args.batch or 1, most=8)
        return agreement_task(
            source.graph, model, Path(args.data), most=args.samples, pixels=args.pixels, resize=args.resize
        )
    finally:
        model.close()
