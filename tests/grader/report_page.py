"""A grade as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from solutions.core.hardware.profile import detect
from solutions.core.optional import require
from tests.grader.learner import INSTALL
from tests.grader.outcome import Grade
from tests.grader.text import is_untouched, not_run_reasons, points

TEMPLATE = Path(__file__).with_name("report_page.html")


def report_html(grade: Grade) -> str:
    """The page as text; everything that comes from a submission is escaped, and nothing is loaded from elsewhere.

    Raises:
        BackendUnavailable: jinja2 is missing.
    """
    jinja2 = require("jinja2", why="the HTML report", install=INSTALL)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"points": points, "reasons": not_run_reasons, "untouched": is_untouched}
    page: str = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        grade=grade,
        machine=detect().describe(),
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        words={"not_run": "not run here"},
    )
    return page
