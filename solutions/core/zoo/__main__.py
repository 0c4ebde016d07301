"""See what the zoo holds, and write a model of it to a file: `python -m solutions.core.zoo list`, `... export NAME`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from solutions.core.measure.report import render_table
from solutions.core.scripts import EXIT_OK, run, write_json
from solutions.core.zoo.formats import FORMATS, TITLES, Written, write_model
from solutions.core.zoo.listing import EmbeddedRow, ExternalRow, embedded_rows, external_rows


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m solutions.core.zoo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("list", help="the models, their sizes and scores, and which weights are on this machine")
    export = commands.add_parser("export", help="write one model to a file")
    export.add_argument("name", help="a name that `list` shows, or another classifier of torchvision")
    export.add_argument(
        "--out",
        metavar="FILE",
        required=True,
        help="the file; its suffix chooses the format: .pth or .pt a torch state dict, .safetensors, .onnx, "
        ".ts TorchScript (legacy), .pt2 torch.export",
    )
    export.add_argument("--format", choices=tuple(FORMATS), help="the format, where the suffix does not say it")
    export.add_argument(
        "--random", action="store_true", help="untrained weights: no download, good for timing only (torchvision's)"
    )
    for command in (show, export):
        command.add_argument("--json", metavar="FILE", help="also write what was printed to FILE")
    parser.epilog = f"{show.format_usage()}{export.format_usage()}"
    return parser.parse_args(argv)


def show_models(inside: Sequence[EmbeddedRow], outside: Sequence[ExternalRow]) -> None:
    """Print both tables."""
    render_table(
        "embedded models (trained on the synthetic street, which is all they know)",
        ("name", "task", "input", "ONNX kB", "weights kB", "scores on held-out streets"),
        [
            (row.name, row.task, row.input, row.onnx_bytes // 1000, row.weights_bytes // 1000, _scores(row.held_out))
            for row in inside
        ],
    )
    render_table(
        "torchvision's models",
        ("name", "task", "input", "million parameters", "trained weights"),
        [
            (
                row.name,
                row.task,
                row.input,
                row.parameters / 1e6,
                "cached" if row.cached else f"{row.weights_mb:.0f} MB to download",
            )
            for row in outside
        ],
    )
    print("Torchvision's other classifiers work by their names too. Without a network: export NAME --out FILE --random")


def _scores(held_out: dict[str, float]) -> str:
    """The overall scores; those of single classes are in the README and in --json."""
    overall = {key: value for key, value in held_out.items() if not key.startswith("ap50_")}
    return ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in overall.items())


def show_written(written: Written) -> None:
    """Print what was written, and what it is good for."""
    print(f"wrote {written.path}: {written.name} as {TITLES[written.format]}, {written.size_bytes / 1e6:.1f} MB")
    if written.random:
        print("The weights are random: good for timing only, what it answers means nothing.")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, call, print."""
    args = parse_args(argv)
    if args.command == "list":
        inside, outside = embedded_rows(), external_rows()
        show_models(inside, outside)
        record = {"embedded": [asdict(row) for row in inside], "external": [asdict(row) for row in outside]}
    else:
        written = write_model(args.name, Path(args.out), format=args.format, random=args.random)
        show_written(written)
        record = asdict(written) | {"path": str(written.path)}
    if args.json:
        write_json(args.json, record)
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
