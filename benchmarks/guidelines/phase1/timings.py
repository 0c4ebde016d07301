"""Timings behind the figures of phase 1's guidelines, one function each; every one returns values for JSON.

All of it depends on the machine and on what else runs there meanwhile: rerun it on a quiet one before quoting.
"""

from __future__ import annotations

import mmap
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.hardware.profile import usable_cores
from solutions.core.measure.metrics import LatencySummary
from solutions.core.measure.profiling import measure, measure_pair
from solutions.core.tensors import Model
from solutions.phase1_basics.model_loader import load_model, random_inputs
from solutions.phase1_basics.profiling.roofline import torch_threads

NETWORK = "resnet50"  # random weights: right for timing, and nothing is downloaded
SMALL, MEDIUM = "street-classifier", "street-medium"
PICTURE = (1, 3, 224, 224)
BATCHES = (1, 2, 4, 8, 16, 32)
SAMPLES = 1000  # of the distribution
BLOCK = 100  # the samples that most people take
DEVICE_JOB_S = 0.005
AB_RUNS, AB_ROUNDS, AB_BATCH = 3, 25, 4
NEIGHBOURS = 2  # on every core

# A neighbour: of every 4 ms it works the part that the byte in the file says.
_NEIGHBOUR = """
import mmap, sys, time
with open(sys.argv[1], "rb") as file:
    part = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)
while True:
    until = time.perf_counter() + 0.004 * part[0] / 255
    while time.perf_counter() < until:
        pass
    time.sleep(0.004 * (1 - part[0] / 255))
"""


def batch_sweep() -> list[dict[str, Any]]:
    """Milliseconds of a call by batch size: a layer that is nearly all weights, and a convolutional network."""
    import torch

    layer = torch.nn.Linear(4096, 4096)
    rows = {batch: torch.rand(batch, 4096) for batch in BATCHES}
    with torch.inference_mode(), torch_threads(1):
        linear = _sweep(lambda batch: layer(rows[batch]), rounds=10)
    with loaded(MEDIUM) as model:
        fed = {batch: random_inputs(model.inputs, batch=batch, free=256) for batch in BATCHES}
        convolutions = _sweep(lambda batch: model.predict(fed[batch]), rounds=10)
    return [{"model": "Linear 4096 x 4096", "rows": linear}, {"model": MEDIUM, "rows": convolutions}]


def latency_distribution() -> dict[str, Any]:
    """Quantiles of many calls, and the p99 that each block of 100 calls would have reported."""
    with loaded(MEDIUM) as model:
        feeds = random_inputs(model.inputs, batch=1, free=256)
        found = measure(lambda: model.predict(feeds), warmup=20, repeats=SAMPLES)
    seconds = np.asarray(found.samples_s)
    blocks = [LatencySummary.of(block.tolist()).p99 for block in seconds.reshape(-1, BLOCK)]
    first = np.sort(seconds[:BLOCK]) * 1e3
    return {
        "model": MEDIUM,
        "latency_ms": found.summary.as_dict(),
        "quantiles_ms": [float(value) for value in np.percentile(seconds * 1e3, np.arange(0, 100.5, 0.5))],
        "block": BLOCK,
        "block_p99_ms": blocks,
        "first_block_p99_ms": {"nearest-rank": float(first[98]), "linear": float(np.percentile(first, 99))},
    }


def warm_up(calls: int = 30) -> dict[str, Any]:
    """Milliseconds of the first calls of a network in a process that has never run one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return {"model": NETWORK, **pool.submit(_first_calls, calls).result()}


def synchronise() -> dict[str, Any]:
    """What a timer reads of a device that works through a queue of 5 ms jobs, with and without waiting for it.

    The device is a thread that sleeps, so that the effect can be seen on a machine without a GPU.
    """
    jobs: queue.Queue[float] = queue.Queue()

    def device() -> None:
        while (job := jobs.get()) > 0:
            time.sleep(job)
            jobs.task_done()

    worker = threading.Thread(target=device, daemon=True)
    worker.start()
    launch = lambda: jobs.put(DEVICE_JOB_S)  # noqa: E731
    without = measure(launch, warmup=3, repeats=50)
    jobs.join()
    waiting = measure(launch, warmup=3, repeats=50, synchronize=jobs.join)
    jobs.put(0.0)
    worker.join()
    return {
        "device_job_ms": DEVICE_JOB_S * 1e3,
        "without_ms": without.summary.as_dict(),
        "with_ms": waiting.summary.as_dict(),
    }


def drift() -> dict[str, Any]:
    """The same function timed against itself while neighbours take more and more of the machine, in two orders."""
    with loaded(MEDIUM) as model:
        feeds = random_inputs(model.inputs, batch=AB_BATCH, free=256)
        measure(lambda: model.predict(feeds), warmup=20, repeats=1)
        runs = [_one_drift(lambda: model.predict(feeds)) for _ in range(AB_RUNS)]
    for order in (order for run in runs[1:] for order in run.values()):
        del order["a_ms"], order["b_ms"]  # the first run is drawn, of the others the ratios are told
    return {
        "model": MEDIUM,
        "batch": AB_BATCH,
        "rounds": AB_ROUNDS,
        "neighbours": NEIGHBOURS * usable_cores(),
        "runs": runs,
    }


@contextmanager
def loaded(name: str) -> Iterator[Model]:
    """The model on one thread, closed at the end of the block."""
    model = load_model(name, device="cpu", threads=1)
    try:
        yield model
    finally:
        model.close()


def _sweep(call: Callable[[int], object], *, rounds: int) -> list[dict[str, float]]:
    """Every round measures every size, so that a slow moment falls on all of them."""
    samples: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for number in range(rounds):
        for batch, times in samples.items():
            times += measure(partial(call, batch), warmup=0 if number else 2, repeats=3).samples_s
    medians = {batch: statistics.median(times) * 1e3 for batch, times in samples.items()}
    return [{"batch": batch, "call_ms": ms, "picture_ms": ms / batch} for batch, ms in medians.items()]


def _first_calls(calls: int) -> dict[str, Any]:
    """Runs in a process of its own."""
    start = time.perf_counter()
    import torch
    import torchvision

    torch.set_num_threads(1)
    imported = time.perf_counter()
    network = torchvision.models.get_model(NETWORK, weights=None).eval()
    built = time.perf_counter()
    picture = torch.rand(PICTURE)
    with torch.inference_mode():
        found = measure(lambda: network(picture), warmup=0, repeats=calls)
    times = [seconds * 1e3 for seconds in found.samples_s]
    return {
        "import_ms": (imported - start) * 1e3,
        "build_ms": (built - imported) * 1e3,
        "calls_ms": times,
        "settled_ms": statistics.median(times[10:]),
    }


def _one_drift(call: Callable[[], object]) -> dict[str, Any]:
    stamps: list[float] = []

    def noting() -> float:
        stamps.append(time.perf_counter())
        return stamps[-1]

    with pressed(call, calls=4 * AB_ROUNDS) as work:
        a = measure(work, warmup=0, repeats=2 * AB_ROUNDS)
        b = measure(work, warmup=0, repeats=2 * AB_ROUNDS)
    with pressed(call, calls=4 * AB_ROUNDS) as work:
        paired = measure_pair(work, work, rounds=AB_ROUNDS, warmup=0, clock=noting)
    took = np.diff(np.reshape(stamps, (-1, 2)), axis=1).ravel() * 1e3
    is_b = np.tile([False, True, True, False], AB_ROUNDS)
    return {
        "one_after_the_other": {
            "a_ms": [seconds * 1e3 for seconds in a.samples_s],
            "b_ms": [seconds * 1e3 for seconds in b.samples_s],
            "ratio": b.summary.p50 / a.summary.p50,
        },
        "interleaved": {
            "a_ms": [float(value) for value in took[~is_b]],
            "b_ms": [float(value) for value in took[is_b]],
            **{key: getattr(paired.ratio, key) for key in ("ratio", "low", "high")},
        },
    }


@contextmanager
def pressed(call: Callable[[], object], *, calls: int) -> Iterator[Callable[[], object]]:
    """The same call, beside neighbours on every core, each of which takes more of it with every call."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="neighbours-"))
        path = Path(folder) / "part"
        path.write_bytes(b"\0")
        part = stack.enter_context(mmap.mmap(stack.enter_context(path.open("r+b")).fileno(), 1))
        for _ in range(NEIGHBOURS * usable_cores()):
            one = subprocess.Popen([sys.executable, "-c", _NEIGHBOUR, str(path)])
            stack.callback(one.wait)
            stack.callback(one.kill)
        time.sleep(0.3)  # until Python itself has started in them
        numbers = iter(range(calls))

        def work() -> object:
            part[0] = 255 * next(numbers) // calls
            return call()

        yield work
