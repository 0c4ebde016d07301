"""Phase 1's guidelines: a section per exercise; figures and numbers are those of the record."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # benchmarks are no installed package

from benchmarks import phase1_pictures, phase1_words  # noqa: E402
from solutions.core.errors import ConfigError  # noqa: E402
from tests.grader.course import Course  # noqa: E402

FOLDER = ROOT / "phase1_basics"
TEXT = (FOLDER / "guidelines.md").read_text(encoding="utf-8")
RECORD = json.loads((ROOT / "benchmarks/results/phase1_figures.json").read_text(encoding="utf-8"))
FIGURES = {path.name: path.read_text(encoding="utf-8") for path in sorted((FOLDER / "figures").iterdir())}
SVG = "{http://www.w3.org/2000/svg}"


def sections(text: str) -> dict[str, str]:
    """Body of each `## 1.n ...` section by exercise id."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.split()[0]: part for part in parts if re.match(r"\d+\.\d+ ", part)}


def exercises() -> list[str]:
    """Ids of the exercises that the templates of phase 1 ask for."""
    return sorted(
        (
            found
            for template in FOLDER.glob("template_*.py")
            for found in re.findall(r"# TODO (1\.\d+) ", template.read_text(encoding="utf-8"))
        ),
        key=lambda exercise: int(exercise.split(".")[1]),
    )


def test_sections_are_those_of_the_exercises_in_their_order():
    assert exercises()
    assert list(sections(TEXT)) == exercises() == [exercise.id for exercise in Course.load().exercises_of(1)]


@pytest.mark.parametrize("exercise", exercises())
def test_every_section_says_its_limits_and_leads_to_the_full_version(exercise):
    section = sections(TEXT)[exercise]
    assert "**What it cannot do.**" in section
    assert re.search(r"The full version[^#]*\]\(\.\./solutions/", section)


def test_no_section_gives_the_code_away():
    assert "```python" not in TEXT
    assert "def " not in TEXT


def test_the_curriculum_is_covered():
    assert len(re.findall(r"^\d\. \*\*", TEXT.split("## Five pitfalls")[1], re.MULTILINE)) == 5
    for heading in ("## Practices", "## Reading", "## What to try next"):
        assert heading in TEXT


def test_figures_in_the_text_are_those_in_the_folder():
    assert sorted(re.findall(r"\]\(figures/([^)]+)\)", TEXT)) == sorted(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stands_alone(name):
    root = ElementTree.fromstring(FIGURES[name])
    assert root.tag == SVG + "svg"
    assert float(root.attrib["height"]) > 0
    assert root.find(SVG + "style") is not None
    assert not re.search(r"<script|href=|@import|url\(", FIGURES[name])


def test_figures_are_drawn_from_the_record():
    assert phase1_pictures.figures(RECORD) == FIGURES


def test_measured_numbers_are_those_of_the_record():
    assert phase1_words.filled(TEXT, RECORD) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT.replace("<!-- measured: drift -->", ""), id="a-block-is-missing"),
        pytest.param(TEXT + "\n<!-- measured: luck -->\n<!-- end -->\n", id="a-block-that-nobody-writes"),
        pytest.param(TEXT + "\n<!-- measured: host -->\n<!-- end -->\n", id="a-block-twice"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(text):
    with pytest.raises(ConfigError, match="must hold each of the blocks"):
        phase1_words.filled(text, RECORD)


def test_an_old_number_is_replaced():
    changed = TEXT.replace("<!-- measured: activations -->\n", "<!-- measured: activations -->\nstale 1.0 MB", 1)
    assert phase1_words.filled(changed, RECORD) == TEXT


def test_the_host_of_the_numbers_is_told():
    assert RECORD["host"]["cpu"] in TEXT
    assert RECORD["versions"]["torch"] in TEXT


def test_the_story_that_the_text_tells_still_holds():
    """Sentences around the numbers claim these; a record that says otherwise needs another text."""
    mistakes = {row["fed"]: row for row in RECORD["wrong_preprocessing"]["rows"]}
    assert mistakes["as in training"]["class"] > 0.95
    assert mistakes["RGB for BGR"]["colour"] < mistakes["RGB for BGR"]["class"] - 0.1
    linear, convolutions = ({row["batch"]: row["picture_ms"] for row in one["rows"]} for one in RECORD["batch_sweep"])
    assert linear[32] < 0.4 * linear[1]
    assert convolutions[32] > 0.8 * convolutions[1]
    warm = RECORD["warm_up"]
    assert warm["calls_ms"][0] > 1.05 * warm["settled_ms"]
    assert warm["import_ms"] + warm["build_ms"] > warm["calls_ms"][0]
    assert RECORD["synchronise"]["without_ms"]["p50"] < 0.01 * RECORD["synchronise"]["with_ms"]["p50"]
    slowest = sorted(RECORD["layers"]["layers"], key=lambda layer: -layer["ms"])
    assert slowest[0]["ms"] < 0.1 * RECORD["layers"]["total_ms"]
    assert "maxpool" in [layer["name"] for layer in slowest[:10]]
    assert all(abs(run["interleaved"]["ratio"] - 1) < 0.1 for run in RECORD["drift"]["runs"])
    assert max(abs(run["one_after_the_other"]["ratio"] - 1) for run in RECORD["drift"]["runs"]) > 0.1
