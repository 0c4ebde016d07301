"""The guidelines of each phase: a section per exercise; figures and numbers are those of the record."""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # benchmarks are no installed package

from benchmarks.guidelines.chapters import CHAPTERS, Chapter  # noqa: E402
from benchmarks.guidelines.records import read_record  # noqa: E402
from benchmarks.guidelines.words import filled  # noqa: E402
from solutions.core.errors import ConfigError  # noqa: E402
from tests.grader.course import Course  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"

every_phase = pytest.mark.parametrize("phase", CHAPTERS)


def text(phase: int) -> str:
    return CHAPTERS[phase].text_file.read_text(encoding="utf-8")


@functools.cache
def record(phase: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CHAPTERS[phase].record_file.read_text(encoding="utf-8"))
    return found


def figures(phase: int) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(CHAPTERS[phase].figures_folder.iterdir())}


def sections(phase: int) -> dict[str, str]:
    """Body of each `## 1.n ...` section by exercise id."""
    parts = re.split(r"^## ", text(phase), flags=re.MULTILINE)[1:]
    return {part.split()[0]: part for part in parts if re.match(r"\d+\.\d+ ", part)}


def exercises(phase: int) -> list[str]:
    """Ids of the exercises that the templates of the phase ask for."""
    return sorted(
        (
            found
            for template in CHAPTERS[phase].text_file.parent.glob("template_*.py")
            for found in re.findall(rf"# TODO ({phase}\.\d+) ", template.read_text(encoding="utf-8"))
        ),
        key=lambda exercise: int(exercise.split(".")[1]),
    )


@every_phase
def test_sections_are_those_of_the_exercises_in_their_order(phase):
    asked = exercises(phase)
    assert asked
    assert list(sections(phase)) == asked == [exercise.id for exercise in Course.load().exercises_of(phase)]


@pytest.mark.parametrize("exercise", [exercise for phase in CHAPTERS for exercise in exercises(phase)])
def test_every_section_says_its_limits_and_leads_to_the_full_version(exercise):
    section = sections(int(exercise.split(".")[0]))[exercise]
    assert "**What it cannot do.**" in section
    assert re.search(r"The full version[^#]*\]\(\.\./solutions/", section)


@every_phase
def test_no_section_gives_the_code_away(phase):
    assert "```python" not in text(phase)
    assert "def " not in text(phase)


@every_phase
def test_the_curriculum_is_covered(phase):
    assert len(re.findall(r"^\d\. \*\*", text(phase).split("## Five pitfalls")[1], re.MULTILINE)) == 5
    for heading in ("## Practices", "## Reading", "## What to try next"):
        assert heading in text(phase)


@every_phase
def test_figures_in_the_text_are_those_in_the_folder(phase):
    assert sorted(re.findall(r"\]\(figures/([^)]+)\)", text(phase))) == sorted(figures(phase))


@pytest.mark.parametrize(("phase", "name"), [(phase, name) for phase in CHAPTERS for name in figures(phase)])
def test_a_figure_stands_alone(phase, name):
    drawn = figures(phase)[name]
    root = ElementTree.fromstring(drawn)
    assert root.tag == SVG + "svg"
    assert float(root.attrib["height"]) > 0
    assert root.find(SVG + "style") is not None
    assert not re.search(r"<script|href=|@import|url\(", drawn)


@every_phase
def test_figures_are_drawn_from_the_record(phase):
    assert CHAPTERS[phase].figures(record(phase)) == figures(phase)


def written(chapter: Chapter, old: str) -> str:
    return filled(old, chapter.blocks(record(chapter.number)))


@every_phase
def test_measured_numbers_are_those_of_the_record(phase):
    assert written(CHAPTERS[phase], text(phase)) == text(phase)


@every_phase
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda old: old.replace("<!-- measured: host -->", ""), id="a-block-is-missing"),
        pytest.param(lambda old: old + "\n<!-- measured: luck -->\n<!-- end -->\n", id="a-block-that-nobody-writes"),
        pytest.param(lambda old: old + "\n<!-- measured: host -->\n<!-- end -->\n", id="a-block-twice"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(phase, change):
    with pytest.raises(ConfigError, match="must hold each of the blocks"):
        written(CHAPTERS[phase], change(text(phase)))


@every_phase
def test_an_old_number_is_replaced(phase):
    changed = text(phase).replace("<!-- measured: host -->\n", "<!-- measured: host -->\nstale 1.0 MB", 1)
    assert changed != text(phase)
    assert written(CHAPTERS[phase], changed) == text(phase)


@every_phase
def test_the_host_of_the_numbers_is_told(phase):
    assert record(phase)["host"]["cpu"] in text(phase)
    assert record(phase)["versions"]["torch"] in text(phase)


def test_a_record_of_another_phase_is_refused():
    assert read_record(CHAPTERS[2].record_file, CHAPTERS[2].schema) == record(2)
    with pytest.raises(ConfigError, match="is no record of this script"):
        read_record(CHAPTERS[1].record_file, CHAPTERS[2].schema)


def test_the_story_that_phase_1_tells_still_holds():
    """Sentences around the numbers claim these; a record that says otherwise needs another text."""
    found = record(1)
    mistakes = {row["fed"]: row for row in found["wrong_preprocessing"]["rows"]}
    assert mistakes["as in training"]["class"] > 0.95
    assert mistakes["RGB for BGR"]["colour"] < mistakes["RGB for BGR"]["class"] - 0.1
    linear, convolutions = ({row["batch"]: row["picture_ms"] for row in one["rows"]} for one in found["batch_sweep"])
    assert linear[32] < 0.4 * linear[1]
    assert convolutions[32] > 0.8 * convolutions[1]
    warm = found["warm_up"]
    assert warm["calls_ms"][0] > 1.05 * warm["settled_ms"]
    assert warm["import_ms"] + warm["build_ms"] > warm["calls_ms"][0]
    assert found["synchronise"]["without_ms"]["p50"] < 0.01 * found["synchronise"]["with_ms"]["p50"]
    slowest = sorted(found["layers"]["layers"], key=lambda layer: -layer["ms"])
    assert slowest[0]["ms"] < 0.1 * found["layers"]["total_ms"]
    assert "maxpool" in [layer["name"] for layer in slowest[:10]]
    assert all(abs(run["interleaved"]["ratio"] - 1) < 0.1 for run in found["drift"]["runs"])
    assert max(abs(run["one_after_the_other"]["ratio"] - 1) for run in found["drift"]["runs"]) > 0.1


def test_the_story_that_phase_2_tells_still_holds():
    """As above."""
    found = record(2)
    head = found["channel_scales"]["layers"]
    assert max(head, key=lambda one: one["own_db"] - one["one_db"])["layer"] == "head.conv"
    assert all(one["own_db"] > one["one_db"] for one in head)
    streamed = found["streaming"]
    for row in streamed["rows"]:
        assert abs(row["streamed"] - row["sorted"]) <= 2 * streamed["largest"] / 2048
    assert 0.2 < 1 - streamed["rows"][-1]["sorted"] / streamed["largest"] < 0.3  # "a quarter of the range"
    best = [curve["best"] for curve in found["clipping"]["curves"]]
    assert best == sorted(best, reverse=True)
    seen = {row["observer"]: row for row in found["observers"]["rows"]}
    assert {row["right"] for row in seen.values()} == {seen["float32"]["right"]}
    assert max(seen.values(), key=lambda row: row.get("db", 0.0))["observer"] == "minmax"
    assert found["observers"]["crops"] == 600
    most, middle, few = found["training"]["rows"]
    assert few["largest"] < 0.5 < few["least_error"] < few["trained"]
    assert abs(most["largest"] - found["training"]["float"]) < 0.005
    assert middle["least_error"] < middle["largest"]
    right, everywhere = found["placement"]["rows"]
    assert right["high"] < 0.8
    assert everywhere["low"] > 1
    assert everywhere["float"] >= 10 > right["float"]
    speeds = {row["model"]: row for row in found["verdicts"]}
    assert speeds["resnet18"]["int8"]["high"] < 1 / 1.2
    assert speeds["mobilenet_v3_small"]["int8"]["high"] > 1 / 1.2  # it does not meet the bar for certain
    assert all(row["float16"]["high"] > 1 / 1.2 for row in speeds.values())
    assert all(row["ratio"] < 1 for row in found["folding"])
    shuffled, *_ = found["simplified"]
    assert shuffled["none"]["ratio"] < 0.9
    assert shuffled["none"]["ratio"] < shuffled["all"]["ratio"]
    assert all(row["arena"] <= 1.01 * row["bound"] for row in found["arena"]["rows"])
    told = {row["candidate"]: row for row in found["parity"]["rows"]}
    assert [row["agrees"] for row in told.values()] == [True, True, False, False, False]
    assert told["batch norms with eps 0.001 for 0.00001"]["worst"] > 50 * found["parity"]["explained"]
    builds = [len(row["built_at"]) for row in found["engines"]["rows"]]
    assert builds[0] > 5 * builds[1] > 5 * builds[2] > builds[3] == 1
