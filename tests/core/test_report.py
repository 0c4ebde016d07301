"""Tables that survive a pipe, records of host and versions, and one HTML page that needs nothing else."""

import io
import json
import sys
import xml.etree.ElementTree as ET

import pytest

from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import detect
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.measure.report_html import Bars, Plot, Section, render_html, write_html
from solutions.core.measure.report_svg import draw, scatter, ticks


def test_host_record_is_json_and_holds_no_machine_name(tmp_path):
    record = host_record(detect(tmp_path, affinity=3, system="Linux"))
    assert record["usable_cores"] == 3
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert not {"hostname", "node", "user"} & set(record)


def test_versions_are_read_without_importing():
    before = "openvino" in sys.modules
    versions = versions_record(["numpy", "no-such-package", "openvino"])
    assert versions["numpy"].startswith(("1.", "2."))
    assert "no-such-package" not in versions
    assert ("openvino" in sys.modules) == before


def test_table_in_a_pipe_is_plain_and_whole():
    out = io.StringIO()
    wide = "a very long name of a model " * 8
    render_table(
        "Latency [ms]", ["model", "p50", "n"], [[wide, 1234.5678, 10**15], ["[red]b", 0.01234, None]], file=out
    )
    text = out.getvalue()
    assert "\x1b" not in text
    assert "…" not in text
    assert wide.strip() in text
    for cell in ("1235", "0.0123", str(10**15), "[red]b", "-", "Latency [ms]"):
        assert cell in text
    assert len([line for line in text.splitlines() if "1235" in line]) == 1


def test_table_goes_to_stdout_by_default(capsys):
    render_table("T", ["x"], [[True]])
    assert "yes" in capsys.readouterr().out


def test_table_without_rows(capsys):
    render_table("Nothing", ["x", "y"], [])
    assert "Nothing" in capsys.readouterr().out


def test_table_refuses_a_ragged_row():
    with pytest.raises(ConfigError, match="2 columns"):
        render_table("T", ["x", "y"], [[1]])


SECTIONS = [
    Section("A <b> & c", "first line\nsecond", ["name", "ms"], [["<script>", 1.5], ["b", None]]),
    Section(
        "Plots",
        plots=[
            Plot("Line", "load", "p99 (ms)", {"one": [(0, 1), (1, 3)], "two": [(0, 2), (1, 2)]}),
            Plot("Cloud", "GMAC", "ms", {"m": [(0.01, 1), (10, 100)]}, kind="scatter", log_x=True, log_y=True),
            Plot("Point", "x", "y", {"only": [(1, 1)]}, from_zero=False),
            scatter(
                "Named",
                "ms",
                "agreement",
                {
                    "a": {"int8 on a runtime with a long name": (2, 0.9), "same place": (2, 0.9), "left": (1, 0.9)},
                    "b": {},
                },
            ),
            Bars("Bars", "ms", {"fp32": 35.0, "int8 <U8S8>": 10.0}, whiskers={"fp32": (33.0, 40.0)}),
            Bars("Zero", "ms", {"nothing": 0.0}),
        ],
    ),
]


def test_page_is_self_contained_and_escaped():
    page = render_html("Title <x>", SECTIONS)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "src=" not in page
    assert "prefers-color-scheme:dark" in page
    assert page.count("<svg") == 6


@pytest.mark.parametrize("plot", SECTIONS[1].plots, ids=lambda plot: plot.title)
def test_svg_is_well_formed_and_stays_inside_its_frame(plot):
    root = ET.fromstring(draw(plot))
    _, _, width, height = map(float, root.get("viewBox").split())
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cx")) <= width
        assert 0 <= float(circle.get("cy")) <= height
    for bar in root.iter("rect"):
        assert float(bar.get("x")) + float(bar.get("width")) <= width


def test_bars_are_to_scale():
    first, second = ET.fromstring(draw(SECTIONS[1].plots[4])).iter("rect")
    assert float(first.get("width")) / float(second.get("width")) == pytest.approx(3.5, rel=0.01)


def test_points_have_names_that_do_not_meet():
    texts = ET.fromstring(draw(SECTIONS[1].plots[3])).iter("text")
    places = {text.text: (float(text.get("x")), float(text.get("y")), text.get("text-anchor")) for text in texts}
    long, same = places["int8 on a runtime with a long name"], places["same place"]
    assert abs(long[1] - same[1]) >= 12
    assert long[2] == "end"  # no room to the right of the last point
    assert places["left"][2] == "start"


@pytest.mark.parametrize(
    ("low", "high", "log", "want"),
    [
        pytest.param(0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1.0], id="unit"),
        pytest.param(-3, 7, False, [-2, 0, 2, 4, 6], id="through-zero"),
        pytest.param(5, 5, False, [5], id="constant"),
        pytest.param(2, 3, True, [2, 3], id="less-than-a-decade"),
    ],
)
def test_ticks_are_round(low, high, log, want):
    assert ticks(low, high, log=log) == pytest.approx(want)


def test_page_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "report.html"
    write_html(target, "T", SECTIONS)
    write_html(target, "Again", SECTIONS)
    assert "Again" in target.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(ConfigError, match="cannot be written"):
        write_html(tmp_path / "missing" / "report.html", "T", SECTIONS)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Plot("p", "x", "y", {}), id="no-series"),
        pytest.param(lambda: Plot("p", "x", "y", {"a": [(0, 1)]}, log_x=True), id="log-of-zero"),
        pytest.param(lambda: Plot("p", "x", "y", {"a": [(0, float("nan"))]}), id="nan"),
        pytest.param(lambda: Plot("p", "x", "y", {"a": [(0, 1)]}, names={"a": []}), id="point-without-name"),
        pytest.param(lambda: Bars("b", "x", {}), id="no-bars"),
        pytest.param(lambda: Bars("b", "x", {"a": -1.0}), id="negative-bar"),
        pytest.param(lambda: Section("s", columns=["x"], rows=[[1, 2]]), id="ragged-row"),
    ],
)
def test_bad_plots_are_refused(make):
    with pytest.raises(ConfigError):
        make()
