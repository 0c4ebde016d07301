"""The grade as JUnit XML, which every CI shows: a suite per exercise, a case per test."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tests.grader.outcome import Check, ExerciseGrade, Grade

# what XML 1.0 cannot hold, even escaped; a failure may quote anything
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(grade: Grade) -> str:
    """The XML text. "Not run here" and "inconclusive" are skipped cases that say so; nothing tested is a failure."""
    suites = [_suite(exercise) for exercise in grade.exercises]
    root = ElementTree.Element("testsuites", name=_text(grade.target))
    for count in ("tests", "failures", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(exercise: ExerciseGrade) -> ElementTree.Element:
    checks = exercise.checks or (Check("", exercise.exercise, "tested", "failed", "no test of it was run."),)
    suite = ElementTree.Element("testsuite", name=_text(f"{exercise.exercise} {exercise.symbol}"))
    suite.set("time", f"{sum(check.duration_s for check in checks):.3f}")
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"earned": exercise.earned, "available": exercise.available, "points": exercise.points}
    for name, value in {**facts, "file": exercise.file, "sha": exercise.sha}.items():
        shown = f"{value:g}" if isinstance(value, float) else _text(str(value))
        ElementTree.SubElement(properties, "property", name=name, value=shown)
    for check in checks:
        suite.append(_case(check, exercise.broken_rule))
    suite.set("tests", str(len(checks)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    return suite


def _case(check: Check, broken_rule: str) -> ElementTree.Element:
    row = f" [{check.nodeid.partition('[')[2]}" if "[" in check.nodeid else ""
    case = ElementTree.Element("testcase", classname=check.exercise, name=_text(check.behaviour + row))
    case.set("time", f"{check.duration_s:.3f}")
    if broken_rule or check.verdict == "failed":
        message = broken_rule or check.message
        failure = ElementTree.SubElement(case, "failure", message=_text(message.partition("\n")[0]))
        failure.text = _text(message)
    elif check.verdict != "passed":
        word = check.verdict.replace("_", " ")
        ElementTree.SubElement(case, "skipped", message=_text(f"{word}: {check.message}"))
    return case


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
