"""What the documents say is there: links lead somewhere, commands parse, options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in ROOT.glob("**/*.md")
    if not any(part.startswith(".") or part in ("out", "build") for part in path.relative_to(ROOT).parts)
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"```(?:bash|sh|console)\n(.*?)```", re.DOTALL)


def commands(text: str) -> list[str]:
    """The command lines in a document's shell blocks, comments and continuation lines resolved."""
    lines = []
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ").split("  #")[0].strip()
            if line and not line.startswith("#"):
                lines.append(line)
    return lines


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_relative_links_lead_somewhere(document):
    for target in LINK.findall(document.read_text()):
        if not target.startswith(("http://", "https://", "#")):
            assert (document.parent / target.split("#")[0]).exists(), f"{target} in {document.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(document.read_text()):
        words = shlex.split(line)
        if words[0] == "make":
            assert set(words[1:]) <= targets, line


def script_uses() -> list[tuple[str, tuple[str, ...]]]:
    """(script or module, options it is given in the documents), each script once."""
    uses: dict[str, set[str]] = {}
    for document in DOCUMENTS:
        for line in commands(document.read_text()):
            words = [word for word in shlex.split(line) if "=" not in word or word.startswith("-")]
            if words[0] == "grade" and len(words) > 1:
                words = ["python", "-m", f"tests.grader {words[1]}", *words[2:]]
            if "python" not in Path(words[0]).name:
                continue
            if words[1] == "-m":
                if not words[2].startswith(("solutions", "tests.grader")):
                    continue
                script, rest = "-m " + words[2], words[3:]
            elif words[1].endswith(".py"):
                script, rest = words[1], words[2:]
            else:
                continue
            uses.setdefault(script, set()).update(word.split("=")[0] for word in rest if word.startswith("--"))
    return [(script, tuple(sorted(options))) for script, options in sorted(uses.items())]


@pytest.mark.parametrize(
    ("script", "options"), script_uses(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_documented_options_exist(script, options):
    shown = subprocess.run(
        [sys.executable, *script.split(), "--help"], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert [option for option in options if option not in shown.stdout] == []
