"""The benchmark of training for int8: what it says and when it fails; the figures themselves take minutes."""

from __future__ import annotations

import json

import pytest

from benchmarks import qat_recovery
from benchmarks.bars import Bar
from benchmarks.qat_recovery import main
from solutions.core.errors import BackendUnavailable
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_OK, run


@pytest.mark.parametrize(("lost", "code"), [(0.1, EXIT_OK), (0.3, EXIT_FAILED)], ids=["held", "missed"])
def test_the_exit_code_follows_the_bars_and_a_missing_yardstick_is_said(lost, code, monkeypatch, tmp_path, capsys):
    def figures(name, recipe, folder, *, torchao, **_):
        assert recipe.schedule.steps == 5
        if torchao:
            raise BackendUnavailable("torchao is not installed")
        yield Bar(name, "trained: points lost", lost, at_most=0.2)

    monkeypatch.setattr(qat_recovery, "model_bars", figures)
    out = tmp_path / "r.json"
    assert run(main, ["--models", "street-small", "--steps", "5", "--json", str(out)]) == code
    assert "not run here: torchao" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert record["schema"] == "ml-inference/qat-recovery/1"
    assert record["not_run"]
    assert [(bar["case"], bar["value"], bar["held"]) for bar in record["figures"]] == [
        ("street-small", lost, code == EXIT_OK)
    ]


def test_settings_that_measure_nothing_are_refused(capsys):
    assert run(main, ["--rounds", "0"]) == EXIT_CANNOT_RUN
    assert "--rounds must be at least 1" in capsys.readouterr().err


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_every_embedded_model_holds_its_bars():
    """Trains and judges all four: about half an hour on one core."""
    assert run(main, ["--no-torchao", "--rounds", "5"]) == EXIT_OK
