"""A clock and a device for the grading tests: nothing waits, and every second is accounted for."""

from __future__ import annotations


class FakeClock:
    """Seconds that pass only when somebody says so; with costs that are sums of powers of 2 differences are exact."""

    def __init__(self) -> None:
        self.now_s = 1024.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class FakeDevice:
    """Like a GPU: a launch takes the host LAUNCH_S and queues the work; `synchronize` waits for an empty queue."""

    LAUNCH_S = 2.0**-10

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.busy_until_s = clock.now_s
        self.synchronized = 0

    def launch(self, work_s: float) -> None:
        self.clock.advance(self.LAUNCH_S)
        self.busy_until_s = max(self.busy_until_s, self.clock.now_s) + work_s

    def synchronize(self) -> None:
        self.synchronized += 1
        self.clock.now_s = max(self.clock.now_s, self.busy_until_s)
