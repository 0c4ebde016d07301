"""Annotated frames: thin boxes, label chips, trails and a small HUD, one steady colour per track.

Everything draws in place on a uint8 [H, W, 3] BGR picture of one's own (copy the frame of a stream first) and clips at
its edges. Sizes follow the height of the picture, so that 320x240 and 4K both stay readable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.images import check_pixels

Colour = tuple[int, int, int]
"""Blue, green, red, each 0..255."""

PALETTE: tuple[Colour, ...] = (
    (222, 148, 66), (113, 179, 60), (71, 130, 245), (189, 103, 155), (63, 184, 240), (172, 176, 47), (132, 98, 236),
    (205, 133, 122), (80, 163, 128), (98, 175, 228), (214, 122, 199), (95, 108, 209),
)  # fmt: skip
"""Twelve colours of like brightness that stay apart from one another and from asphalt."""

_INK: Colour = (24, 22, 20)
_PAPER: Colour = (245, 243, 240)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Box:
    """One thing to outline.

    Attributes:
        xyxy: x1, y1, x2, y2 in pixels of the picture.
        label: class name, or "".
        score: 0..1, or None to leave it out.
        track_id: picks the colour and leads the chip; None takes the colour from the label.
    """

    xyxy: tuple[float, float, float, float]
    label: str = ""
    score: float | None = None
    track_id: int | None = None

    @property
    def caption(self) -> str:
        """What the chip says, e.g. "#12 car 0.87".

        >>> Box((0, 0, 9, 9), "car", 0.874, 12).caption
        '#12 car 0.87'
        """
        parts = ("" if self.track_id is None else f"#{self.track_id}", self.label)
        score = "" if self.score is None else f"{self.score:.2f}"
        return " ".join(part for part in (*parts, score) if part)

    @property
    def colour(self) -> Colour:
        """Of the track where there is one, else of the label: the same in every frame and every run."""
        return colour_of(sum(self.label.encode()) if self.track_id is None else self.track_id)


def colour_of(number: int) -> Colour:
    """The palette's colour of a track id; neighbours differ."""
    return PALETTE[number % len(PALETTE)]


def draw_boxes(pixels: np.ndarray, boxes: Sequence[Box]) -> None:
    """Outline every box and put its chip on top of it, inside the picture; chips lie over all outlines."""
    height, width = check_pixels(pixels)
    line = max(1, round(height / 480))
    for box in boxes:
        x1, y1, x2, y2 = _whole(box.xyxy)
        cv2.rectangle(pixels, (x1, y1), (x2, y2), box.colour, line)
    for box in boxes:
        if box.caption:
            x1, y1, _, y2 = _whole(box.xyxy)
            wide, high = _chip_size(box.caption, height)
            top = y1 - high if y1 >= high else min(y1 + line, y2)
            _chip(pixels, box.caption, (min(max(x1, 0), max(width - wide, 0)), max(top, 0)), box.colour, _INK)


def draw_trails(pixels: np.ndarray, trails: Mapping[int, np.ndarray]) -> None:
    """The recent way of each track: points [N, 2] (x, y; oldest first) by id, in its colour, fading backwards."""
    height, _ = check_pixels(pixels)
    thickest = max(1, round(height / 240))
    for track_id, points in trails.items():
        path = np.asarray(points, np.float64).reshape(-1, 2)
        if len(path) < 2:
            continue
        colour = np.array(colour_of(track_id), np.float64)
        steps = np.rint(np.clip(path, -1e6, 1e6)).astype(np.int32)
        for index in range(1, len(steps)):
            age = index / (len(steps) - 1)
            faded = tuple(int(part) for part in colour * (0.35 + 0.65 * age))
            start, end = steps[index - 1].tolist(), steps[index].tolist()
            cv2.line(pixels, start, end, faded, max(1, round(thickest * age)), cv2.LINE_AA)


def draw_hud(pixels: np.ndarray, lines: Sequence[str]) -> None:
    """Short lines such as "30.1 FPS" and "p99 41 ms" on a dark panel in the top left corner."""
    height, width = check_pixels(pixels)
    if not lines:
        return
    sizes = [_chip_size(line, height) for line in lines]
    step = max(high for _, high in sizes)
    margin = step // 3
    right = min(width, margin + max(wide for wide, _ in sizes) + margin)
    bottom = min(height, margin + step * len(lines) + margin)
    panel = pixels[margin:bottom, margin:right]
    if panel.size:
        panel[:] = (panel * 0.3 + np.array(_INK) * 0.7).astype(np.uint8)
    for row, line in enumerate(lines):
        _text(pixels, line, (margin + margin // 2, margin + margin // 2 + row * step), height, _PAPER)


def annotate(
    pixels: np.ndarray,
    boxes: Sequence[Box],
    *,
    trails: Mapping[int, np.ndarray] | None = None,
    hud: Sequence[str] = (),
) -> np.ndarray:
    """A copy of the frame with trails, boxes and HUD on it, in this order."""
    canvas: np.ndarray = pixels.copy()
    draw_trails(canvas, trails or {})
    draw_boxes(canvas, boxes)
    draw_hud(canvas, hud)
    return canvas


def _whole(xyxy: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    if not np.isfinite(xyxy).all():
        raise ConfigError(f"a box to draw must be finite, got {xyxy}")
    x1, y1, x2, y2 = (round(min(max(value, -1e6), 1e6)) for value in xyxy)
    return x1, y1, x2, y2


def _scale(height: int) -> float:
    return max(0.34, height / 1500)


def _chip_size(text: str, height: int) -> tuple[int, int]:
    (wide, high), baseline = cv2.getTextSize(text, _FONT, _scale(height), 1)
    return wide + high // 2 * 2, high + baseline + high // 3


def _chip(pixels: np.ndarray, text: str, corner: tuple[int, int], fill: Colour, ink: Colour) -> None:
    """Text on a filled rectangle whose top left corner is given."""
    height = pixels.shape[0]
    wide, high = _chip_size(text, height)
    x, y = corner
    cv2.rectangle(pixels, (x, y), (x + wide, y + high), fill, cv2.FILLED)
    _text(pixels, text, corner, height, ink)


def _text(pixels: np.ndarray, text: str, corner: tuple[int, int], height: int, ink: Colour) -> None:
    (_, high), _ = cv2.getTextSize(text, _FONT, _scale(height), 1)
    weight = max(1, round(height / 900))
    base = corner[1] + high + high // 3
    cv2.putText(pixels, text, (corner[0] + high // 2, base), _FONT, _scale(height), ink, weight, cv2.LINE_AA)
