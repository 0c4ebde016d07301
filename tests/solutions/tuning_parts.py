"""A bench with a clock that only candidates move: how long each takes is written down, not measured."""

from __future__ import annotations

import onnx

from solutions.core.errors import ModelLoadError
from solutions.phase2_optimization.tuning.pictures import Samples
from solutions.phase2_optimization.tuning.subject import Subject
from solutions.phase2_optimization.tuning.workshop import Ready, Workshop
from tests.solutions.quant_builders import pictures, residual_net, run


class Bench:
    """Real files and answers, written-down times.

    Args:
        folder: for the model.
        ms: label -> milliseconds of a call; who is not in it fails to load.
        wrong: labels that answer with noise on top.
        spikes: label -> every how many calls one takes ten times as long.
        prepare_s: label -> seconds to make it ready.
    """

    def __init__(self, folder, ms, *, wrong=(), spikes=None, prepare_s=None):
        self.now_s = 0.0
        self.ms, self.wrong, self.spikes, self.prepare_s = ms, wrong, spikes or {}, prepare_s or {}
        self.opened, self.open_now, self.calls = [], 0, 0
        path = folder / "net.onnx"
        onnx.save(residual_net(), path)
        self.subject = Subject("net", path)
        self.samples = Samples(pictures(4), pictures(16, seed=7), "made-up pictures")

    def clock(self):
        return self.now_s

    def install(self, monkeypatch):
        bench = self

        def ready(workshop, candidate, feeds, *, draft=False):
            if candidate.label not in bench.ms:
                raise ModelLoadError("it does not load here")
            bench.opened.append((candidate.label, draft))
            bench.open_now += 1
            bench.now_s += bench.prepare_s.get(candidate.label, 0.01)
            count = 0

            def call():
                nonlocal count
                count += 1
                bench.calls += 1
                often = bench.spikes.get(candidate.label)
                slow = 10.0 if often and count % often == 0 else 1.0
                bench.now_s += bench.ms[candidate.label] / 1e3 * slow

            def predict(sample):
                answer = run(workshop.subject.graph, dict(sample))[0]
                return {"y": answer[:, ::-1] if candidate.label in bench.wrong else answer}

            def close():
                bench.open_now -= 1

            return Ready(call, candidate.streams, predict, 1000, close)

        monkeypatch.setattr(Workshop, "ready", ready)
        monkeypatch.setattr(Workshop, "file", lambda workshop, candidate, draft=False: workshop.subject.graph)
        return self


def counted(tuning):
    """Label -> state."""
    return {row.candidate.label: row.state for row in tuning.rows}
