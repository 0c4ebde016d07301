from __future__ import annotations

import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.phase4_production.video_analysis.motion import MotionConfig, MotionGate


def picture(square=None, *, value=100, noise=0):
    pixels = np.full((180, 320, 3), value, np.uint8)
    if noise:
        pixels += np.random.default_rng(noise).integers(0, 8, pixels.shape).astype(np.uint8)
    if square is not None:
        pixels[60:90, square : square + 24] = 220
    return pixels


def test_the_first_frame_is_always_looked_at():
    assert MotionGate().moved(picture())


@pytest.mark.parametrize(
    ("second", "want"),
    [
        pytest.param(picture(), False, id="the-same"),
        pytest.param(picture(noise=7), False, id="sensor-noise"),
        pytest.param(picture(value=106), False, id="slow-light"),
        pytest.param(picture(square=40), True, id="something-appears"),
    ],
)
def test_moved(second, want):
    gate = MotionGate()
    gate.moved(picture())
    assert gate.moved(second) is want


def test_slow_motion_adds_up():
    gate = MotionGate(MotionConfig(max_still=1000))
    gate.moved(picture(square=40))
    seen = [gate.moved(picture(square=40 + step)) for step in range(1, 12)]
    assert any(seen), "one pixel a frame must not stay unseen for ever"


@pytest.mark.parametrize(
    "bad", [{"pixel_step": 0}, {"pixel_step": 256}, {"min_share": -0.1}, {"min_share": 1.1}, {"max_still": 0}]
)
def test_bad_settings_name_the_value(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(ConfigError, match=f"{name} must .*{value}"):
        MotionConfig(**bad)
