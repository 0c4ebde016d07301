"""Minutes of running: memory and threads stay where they were. Behind `make soak`."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest

from solutions.core.measure.memory import rss_mb
from solutions.core.vision.scenes import StreetScene, write_clip
from solutions.core.vision.video import open_source
from solutions.phase1_basics.model_loader import load_model
from solutions.phase4_production.video_analysis.classifier import CropClassifier
from solutions.phase4_production.video_analysis.detector import load_detector
from solutions.phase4_production.video_analysis.edge_run import run_edge
from solutions.phase4_production.video_analysis.model_pipeline import Pipeline
from solutions.phase4_production.video_analysis.sinks import EventLog

SECONDS = float(os.environ.get("MLI_SOAK_SECONDS", "600"))
ALLOWED_GROWTH_MB = 30.0


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 300)
def test_an_edge_device_runs_on_without_growing(tmp_path):
    clip = tmp_path / "street.mp4"
    write_clip(StreetScene(7), clip, None, frames=600)
    threads = threading.active_count()
    detector = load_detector("street-small", threads=1, score_threshold=0.1)
    classifier = CropClassifier(load_model("street-classifier", threads=1))
    pipeline = Pipeline(detector, classifier)
    start = time.monotonic()
    settled: list[float] = []
    stop = threading.Event()

    def watch(metrics):
        elapsed = time.monotonic() - start
        if elapsed > SECONDS / 5 and not settled:
            gc.collect()
            settled.append(rss_mb())
        if elapsed > SECONDS:
            stop.set()

    source = open_source(str(clip), loop=True, stop=stop)
    run = run_edge(
        source, pipeline, [EventLog(tmp_path / "e.jsonl", labels=detector.labels)], stop=stop, progress=watch
    )
    gc.collect()
    assert run.errors == []
    assert run.frames["captured"] == run.frames["finished"] + sum(run.frames["dropped"].values())
    assert rss_mb() - settled[0] < ALLOWED_GROWTH_MB, f"grew from {settled[0]:.0f} to {rss_mb():.0f} MB"
    assert threading.active_count() == threads
