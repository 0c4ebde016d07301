"""What is drawn: the right colours at the right places, nothing outside, no crash at the edges."""

import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.core.vision.drawing import PALETTE, Box, annotate, colour_of, draw_boxes, draw_hud, draw_trails


def grey(height=240, width=320):
    return np.full((height, width, 3), 90, np.uint8)


def test_a_box_is_outlined_in_the_colour_of_its_track():
    canvas = grey()
    draw_boxes(canvas, [Box((100, 100, 200, 180), track_id=7)])
    assert tuple(canvas[180, 150]) == colour_of(7)
    assert tuple(canvas[140, 150]) == (90, 90, 90)


def test_the_chip_stands_on_the_box_and_holds_text():
    canvas = grey()
    box = Box((100, 100, 200, 180), "car", 0.87, 7)
    draw_boxes(canvas, [box])
    chip = canvas[85:99, 101:160].reshape(-1, 3)
    assert (chip == colour_of(7)).all(axis=1).mean() > 0.3
    assert chip.min() < 40


@pytest.mark.parametrize(
    ("box", "caption"),
    [
        (Box((0, 0, 1, 1)), ""),
        (Box((0, 0, 1, 1), "car"), "car"),
        (Box((0, 0, 1, 1), "car", 0.5), "car 0.50"),
        (Box((0, 0, 1, 1), "", None, 0), "#0"),
    ],
)
def test_captions(box, caption):
    assert box.caption == caption


@pytest.mark.parametrize(
    "xyxy",
    [
        pytest.param((-40, -40, 30, 30), id="top-left"),
        pytest.param((300, 220, 900, 900), id="bottom-right"),
        pytest.param((-1e12, -1e12, 1e12, 1e12), id="enormous"),
        pytest.param((5000, 5000, 5001, 5001), id="elsewhere"),
        pytest.param((10, 10, 10, 10), id="a-point"),
    ],
)
def test_boxes_at_and_beyond_the_edges(xyxy):
    draw_boxes(grey(), [Box(xyxy, "pedestrian", 0.5, 3)])


def test_a_box_that_is_not_finite_is_refused():
    with pytest.raises(ConfigError, match="finite"):
        draw_boxes(grey(), [Box((0, 0, float("nan"), 5))])


def test_colours_follow_the_track_and_else_the_label():
    assert colour_of(3) == colour_of(3 + len(PALETTE))
    assert colour_of(3) != colour_of(4)
    assert Box((0, 0, 1, 1), "car").colour == Box((5, 5, 6, 6), "car").colour


def test_trails_fade_backwards_and_a_single_point_is_no_trail():
    canvas = grey()
    draw_trails(canvas, {4: np.array([[20, 120], [160, 120], [300, 120]]), 5: np.array([[50, 50]])})
    old, new = canvas[120, 60].astype(int), canvas[120, 280].astype(int)
    assert new.sum() > old.sum()
    assert (canvas[45:55] == 90).all()


def test_the_hud_darkens_its_corner_only():
    canvas = grey()
    draw_hud(canvas, ["30.1 FPS", "p99 41 ms"])
    assert canvas[8:20, 8:60].mean() < 80
    assert (canvas[120:] == 90).all()
    draw_hud(grey(16, 16), ["a line that is much longer than the picture is wide"])


def test_annotate_leaves_the_frame_alone():
    frame = grey()
    canvas = annotate(frame, [Box((10, 60, 90, 200), "bus")], trails={1: np.array([[0, 0], [9, 9]])}, hud=["1 FPS"])
    assert (frame == 90).all()
    assert (canvas != 90).any()
    np.testing.assert_array_equal(annotate(frame, []), frame)
