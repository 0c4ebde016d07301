"""A tuning as a record: what was asked, where and when it was measured, what came of it; to print, keep and send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solutions.core.measure.report import host_record, versions_record
from solutions.phase2_optimization.tuning.candidates import Candidate, Missing
from solutions.phase2_optimization.tuning.int8_on_onnxruntime import Int8Report
from solutions.phase2_optimization.tuning.outcome import Row, pareto_front
from solutions.phase2_optimization.tuning.pictures import Samples
from solutions.phase2_optimization.tuning.subject import Subject
from solutions.phase2_optimization.tuning.tuner import Settings, Tuning

SCHEMA = "ml-inference/tuning/1"


def tuning_record(
    subject: Subject,
    samples: Samples,
    settings: Settings,
    tuning: Tuning,
    *,
    when: str,
    way: str,
    int8: Int8Report | None = None,
) -> dict[str, Any]:
    """Everything, ready for JSON.

    Args:
        subject: what was tuned.
        samples: what it was judged with.
        settings: what was asked for.
        tuning: what was found.
        when: date and time.
        way: "race" or "sweep".
        int8: why int8 won or lost on ONNX Runtime, where that was looked into.
    """
    front = {row.candidate for row in pareto_front(tuning.rows)}
    return {
        "schema": SCHEMA,
        "when": when,
        "way": way,
        "host": host_record(),
        "versions": versions_record(),
        "model": {"name": subject.name, "sha256": subject.digest(), "untrained": subject.untrained},
        "samples": {
            "origin": samples.origin,
            "meaningful": samples.meaningful,
            "calibration": len(samples.calibration),
            "judged": len(samples.judged),
        },
        "settings": settings.as_dict(),
        "metric": tuning.metric,
        "bound": tuning.bound,
        "chosen_s": tuning.chosen_s,
        "seconds": tuning.seconds,
        "choice": tuning.choice.as_dict(),
        "candidates": [{**row.as_dict(), "front": row.candidate in front} for row in tuning.rows],
        "missing": [{"label": each.label, "reason": each.reason} for each in tuning.missing],
        "int8_on_onnxruntime": int8.as_dict() if int8 else None,
    }


@dataclass(frozen=True, slots=True)
class Read:
    """A record as the report needs it."""

    rows: tuple[Row, ...]
    front: frozenset[Candidate]
    chosen: Candidate | None
    missing: tuple[Missing, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Read:
        """From what `tuning_record` gave, or a file that holds it."""
        rows = tuple(Row.from_dict(stored) for stored in record["candidates"])
        fronts = [stored["front"] for stored in record["candidates"]]
        chosen = record["choice"]["candidate"]
        return cls(
            rows,
            frozenset(row.candidate for row, on_front in zip(rows, fronts, strict=True) if on_front),
            Candidate(**chosen) if chosen else None,
            tuple(Missing(**stored) for stored in record["missing"]),
        )
