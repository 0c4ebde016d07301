"""The figures and measured numbers of phase 1's guidelines, made on this machine.

Without --out the course's own are renewed: the figures, the record and the numbers in the text. With --out figures and
record go to that folder and nothing else is touched. It takes about a minute; on a busy machine it shows that instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks import phase1_experiments, phase1_timings
from benchmarks.phase1_pictures import figures
from benchmarks.phase1_words import filled
from solutions.core.errors import ConfigError
from solutions.core.measure.report import host_record, versions_record
from solutions.core.scripts import EXIT_OK, run, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
GUIDELINES = ROOT / "phase1_basics/guidelines.md"
FIGURES = ROOT / "phase1_basics/figures"
RECORD = ROOT / "benchmarks/results/phase1_figures.json"
SCHEMA = "ml-inference/phase1-figures/1"

PARTS: tuple[Callable[[], Any], ...] = (
    phase1_timings.warm_up,
    phase1_timings.latency_distribution,
    phase1_timings.batch_sweep,
    phase1_timings.synchronise,
    phase1_timings.drift,
    phase1_experiments.layers,
    phase1_experiments.activations,
    phase1_experiments.first_bytes,
    phase1_experiments.wrong_preprocessing,
)


def measure_all(progress: Callable[[str], None] = lambda part: None) -> dict[str, Any]:
    """The record: host, versions, and what every part found, to six digits."""
    record: dict[str, Any] = {"schema": SCHEMA, "host": host_record(), "versions": versions_record()}
    for part in PARTS:
        progress(part.__name__)
        record[part.__name__] = rounded(part())
    return record


def rounded(value: Any) -> Any:
    """The same values with floats to six significant digits, which is more than any timing holds.

    >>> rounded({"ms": [1.23456789, 2]})
    {'ms': [1.23457, 2]}
    """
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="put figures and record there")
    parser.add_argument("--record", metavar="FILE", type=Path, help="draw and write from this record, measure nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure or read, draw, write."""
    args = parse_args(argv)
    record = read_record(args.record) if args.record else measure_all(lambda part: print(f"measuring {part} ..."))
    folder = args.out or FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in figures(record).items():
        write_text(folder / name, svg)
    write_json(args.out / RECORD.name if args.out else RECORD, record)
    if not args.out:
        write_text(GUIDELINES, filled(GUIDELINES.read_text(encoding="utf-8"), record))
    print(f"figures are in {folder}")
    return EXIT_OK


def read_record(path: Path) -> dict[str, Any]:
    """A record that was written before.

    Raises:
        ConfigError: it is none.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a record: {error}") from error
    if record.get("schema") != SCHEMA:
        raise ConfigError(f"{path} is no record of this script (schema {SCHEMA}): measure anew without --record")
    return record


if __name__ == "__main__":
    raise SystemExit(run(main))
