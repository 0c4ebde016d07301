"""The figures and measured numbers of a phase's guidelines, made on this machine.

Without --out the course's own are renewed: the figures, the record and the numbers in the text. With --out figures and
record go to that folder and nothing else is touched. Phase 1 takes about a minute, phase 2 about four; on a busy
machine they show that instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # so that a plain file finds its neighbours

from benchmarks.guidelines.chapters import CHAPTERS
from benchmarks.guidelines.records import measure_all, read_record
from benchmarks.guidelines.words import filled
from solutions.core.scripts import EXIT_OK, run, write_json, write_text


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", type=int, choices=sorted(CHAPTERS), help="whose guidelines")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="put figures and record there")
    parser.add_argument("--record", metavar="FILE", type=Path, help="draw and write from this record, measure nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure or read, draw, write."""
    args = parse_args(argv)
    chapter = CHAPTERS[args.phase]
    record = (
        read_record(args.record, chapter.schema)
        if args.record
        else measure_all(chapter.schema, chapter.parts, lambda part: print(f"measuring {part} ...", flush=True))
    )
    folder = args.out or chapter.figures_folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in chapter.figures(record).items():
        write_text(folder / name, svg)
    write_json(args.out / chapter.record_file.name if args.out else chapter.record_file, record)
    if not args.out:
        write_text(chapter.text_file, filled(chapter.text_file.read_text(encoding="utf-8"), chapter.blocks(record)))
    print(f"figures are in {folder}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
