"""What makes up a phase's guidelines: the text, its figures, the record behind both, and how each is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.guidelines.phase1 import experiments, pictures, timings, words
from benchmarks.guidelines.phase2 import codes, graphs
from benchmarks.guidelines.phase2 import pictures as pictures_2
from benchmarks.guidelines.phase2 import timings as timings_2
from benchmarks.guidelines.phase2 import words as words_2
from benchmarks.guidelines.records import Record

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Chapter:
    """One phase's guidelines.

    Attributes:
        number: of the phase.
        folder: of the phase; the text is its guidelines.md, the figures are in its folder figures.
        parts: functions that measure, each named as its values are in the record.
        figures: file name -> SVG text, from the record.
        blocks: name -> Markdown of the measured blocks in the text, from the record.
    """

    number: int
    folder: str
    parts: tuple[Callable[[], Any], ...]
    figures: Callable[[Record], dict[str, str]]
    blocks: Callable[[Record], dict[str, str]]

    @property
    def schema(self) -> str:
        """What a record of this phase says it is."""
        return f"ml-inference/phase{self.number}-figures/1"

    @property
    def record_file(self) -> Path:
        """The course's own record."""
        return ROOT / f"benchmarks/results/phase{self.number}_figures.json"

    @property
    def text_file(self) -> Path:
        """The guidelines."""
        return ROOT / self.folder / "guidelines.md"

    @property
    def figures_folder(self) -> Path:
        """Where the course's own figures are."""
        return ROOT / self.folder / "figures"


CHAPTERS = {
    1: Chapter(
        1,
        "phase1_basics",
        (
            timings.warm_up,
            timings.latency_distribution,
            timings.batch_sweep,
            timings.synchronise,
            timings.drift,
            experiments.layers,
            experiments.activations,
            experiments.first_bytes,
            experiments.wrong_preprocessing,
        ),
        pictures.figures,
        words.blocks,
    ),
    2: Chapter(
        2,
        "phase2_optimization",
        (
            timings_2.placement,
            timings_2.verdicts,
            timings_2.folding,
            timings_2.simplified,
            codes.channel_scales,
            codes.streaming,
            codes.clipping,
            codes.observers,
            codes.training,
            graphs.exports,
            graphs.passes,
            graphs.arena,
            graphs.parity,
            graphs.engines,
        ),
        pictures_2.figures,
        words_2.blocks,
    ),
}
