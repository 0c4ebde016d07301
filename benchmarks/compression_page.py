"""The page and the sentences that `compression_curves.py` makes of its points."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from solutions.core.measure.report import Cell
from solutions.core.measure.report_html import Bars, Plot, Section

COLUMNS = ("setting", "weights", "zeros", "MFLOP", "file kB", "zipped kB", "accuracy", "time over original")
ZEROS = ("magnitude", "2:4")
EXPLAINED = (
    "Accuracy on held-out streets: of the classifier the share of crops with class and colour right, of the detector "
    "AP50. Latency: time over that of the embedded model; left is faster. What was pruned and not trained on is in the "
    "tables below."
)


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the points say, in sentences with their numbers."""
    found = []
    zeros = [ratio_of(row) for row in rows if row["method"] in ZEROS]
    if zeros:
        found.append(
            f"Zeros in dense weights: {len(zeros)} models with 50 to 95% zeros take {min(zeros):.2f} to "
            f"{max(zeros):.2f} times the original's time (mean {mean(zeros):.3f}). What is gained is a file that zips "
            "well."
        )
    original = {row["model"]: row["accuracy"] for row in rows if row["method"] == "original"}
    for row in rows:
        if row["method"] == "channels" and "trained on" in row["setting"] and row["model"] in original:
            lost = 100 * (row["accuracy"] - original[row["model"]])
            found.append(f"{row['model']}, {row['setting']}: {ratio_of(row):.2f} of the time for {lost:+.1f} points.")
    taught = [row for row in rows if row["method"] == "distillation"]
    for model in dict.fromkeys(row["model"] for row in taught):
        own = [row for row in taught if row["model"] == model]
        alone = {row["seed"]: row["accuracy"] for row in own if not row["taught"]}
        for teacher in dict.fromkeys(row["taught"] for row in own if row["taught"]):
            gains = [row["accuracy"] - alone[row["seed"]] for row in own if row["taught"] == teacher]
            name = teacher if isinstance(teacher, str) else "the embedded classifier"
            found.append(
                f"{model}: a student taught by {name} differs from one that had the truth alone, same steps and seeds, "
                f"by {', '.join(f'{100 * gain:+.1f}' for gain in gains)} points (mean {100 * mean(gains):+.1f})."
            )
    return found


def sections(rows: Sequence[dict[str, Any]]) -> list[Section]:
    """The page: what it says, then for each model all points that can be used, then every method by itself."""
    made = [Section("What the measurements say", "\n".join(verdicts(rows)))]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        usable = [row for row in own if row["method"] not in (*ZEROS, "channels") or _trained_on(row)]
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in usable:
            groups.setdefault(row["method"] + (", trained on" if _trained_on(row) else ""), []).append(row)
        title = f"{model}: accuracy against latency"
        made.append(Section(title, EXPLAINED, plots=[_curve(title, groups, names=False)]))
        for method in dict.fromkeys(row["method"] for row in own if row["method"] != "original"):
            chosen = [row for row in own if row["method"] == method]
            plots = _zero_plots(model, method, chosen) if method in ZEROS else [_method_plot(model, method, own)]
            shown = [
                place for place, name in enumerate(COLUMNS) if method in ZEROS or name not in ("zeros", "zipped kB")
            ]
            table = [[cells(row)[place] for place in shown] for row in chosen]
            made.append(Section(f"{model}: {method}", "", [COLUMNS[place] for place in shown], table, plots))
    return made


def _trained_on(row: dict[str, Any]) -> bool:
    return row["method"] != "distillation" and str(row["setting"]).endswith(", trained on")


def _method_plot(model: str, method: str, own: Sequence[dict[str, Any]]) -> Plot:
    chosen = [row for row in own if row["method"] == method]
    groups = {
        "original": [row for row in own if row["method"] == "original"],
        f"{method}, trained on": [row for row in chosen if _trained_on(row)],
        method: [row for row in chosen if not _trained_on(row)],
    }
    return _curve(f"{model}, {method}", {name: rows for name, rows in groups.items() if rows}, names=True)


def _curve(title: str, groups: dict[str, list[dict[str, Any]]], *, names: bool) -> Plot:
    points = {name: [(ratio_of(row), float(row["accuracy"])) for row in rows] for name, rows in groups.items()}
    labels = {name: [row["setting"].removesuffix(", trained on") for row in rows] for name, rows in groups.items()}
    return Plot(
        title,
        "time over that of the embedded model",
        "accuracy",
        {**points},
        kind="scatter",
        from_zero=False,
        names={**labels} if names else None,
    )


def _zero_plots(model: str, method: str, rows: Sequence[dict[str, Any]]) -> list[Plot | Bars]:
    """Accuracy against the share of zeros, and the times, which do not depend on it."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        words = row["setting"].removesuffix(", trained on").split()
        name = (words[-1] if method == "magnitude" else method) + (", trained on" if _trained_on(row) else "")
        points.setdefault(name, []).append((100 * row["zeros"], float(row["accuracy"])))
    ratios = {row["setting"]: row["latency"]["ratio_b_over_a"] for row in rows}
    times = Bars(
        f"{model}, {method}: time over that of the embedded model",
        "ratio, 95% interval",
        {name: ratio["ratio"] for name, ratio in ratios.items()},
        {name: (ratio["low"], ratio["high"]) for name, ratio in ratios.items()},
    )
    if len({zeros for line in points.values() for zeros, _ in line}) == 1:  # 2:4 knows one share only
        return [times]
    return [Plot(f"{model}, {method}: accuracy against zeros", "% of zeros", "accuracy", {**points}), times]


def cells(row: dict[str, Any]) -> list[Cell]:
    """One line of a table with `COLUMNS`."""
    ratio = row["latency"]["ratio_b_over_a"]
    return [
        row["setting"], row["weights"], f"{row['zeros']:.0%}", row["flops"] / 1e6, row["file_bytes"] / 1e3,
        row["zipped_bytes"] / 1e3, f"{row['accuracy']:.3f}",
        f"{ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]",
    ]  # fmt: skip


def ratio_of(row: dict[str, Any]) -> float:
    """Time over that of the embedded model."""
    return float(row["latency"]["ratio_b_over_a"]["ratio"])
