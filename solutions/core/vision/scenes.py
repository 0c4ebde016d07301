"""The synthetic street: a seeded, labelled, unlimited traffic-camera video.

A seed fixes the camera, the street, the houses, the light and everybody who will ever pass. The truth is exact: boxes
and visible fractions come from the silhouettes that were drawn. Parts: `solutions.core.vision.street`.

>>> scene = StreetScene(seed=7, size_hw=(180, 320))
>>> frame, truth = scene.render()
>>> frame.shape, truth.boxes.shape[1]
((180, 320, 3), 4)
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from solutions.core.errors import ConfigError, CourseError, VideoError
from solutions.core.vision.street.backdrop import paint
from solutions.core.vision.street.camera import Camera
from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.layout import Layout
from solutions.core.vision.street.mood import Light
from solutions.core.vision.street.render import Renderer
from solutions.core.vision.street.sensor import Sensor
from solutions.core.vision.street.traffic import Traffic

CLASSES: tuple[str, ...] = ("car", "truck", "bus", "bicycle", "pedestrian")
COLOURS: tuple[str, ...] = ("white", "grey", "black", "red", "blue", "green", "yellow")
COUNTED_VISIBLE = 0.35
COUNTED_HEIGHT = 1 / 24
COUNTED_WIDTH = 1 / 64
WARM_UP_S = 45.0


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """What is really in a frame; arrays share their length N, one row per object that shows at least one pixel.

    `boxes` are tight around an object's own silhouette as if nothing stood before it, cut at the frame; its shadow is
    not part of it. `visible` is visible pixels / all pixels of the silhouette, also those outside the frame.
    """

    ids: np.ndarray  # int64 [N], an object keeps its id
    boxes: np.ndarray  # float32 [N, 4] xyxy pixels
    class_ids: np.ndarray  # int64 [N] into CLASSES
    colour_ids: np.ndarray  # int64 [N] into COLOURS: body of a vehicle, jacket of a person
    visible: np.ndarray  # float32 [N] in (0, 1]

    def __len__(self) -> int:
        return len(self.ids)


def counts(truth: SceneTruth, size_hw: tuple[int, int]) -> np.ndarray:
    """bool [N]: the objects that a detector is asked to find; the others are neither hits nor misses.

    An object counts when at least 35 % of it is visible and its box is at least 1/24 of the frame high and 1/64 of it
    wide.
    """
    height = truth.boxes[:, 3] - truth.boxes[:, 1]
    width = truth.boxes[:, 2] - truth.boxes[:, 0]
    big = (height >= COUNTED_HEIGHT * size_hw[0]) & (width >= COUNTED_WIDTH * size_hw[1])
    out: np.ndarray = big & (truth.visible >= COUNTED_VISIBLE)
    return out


class StreetScene:
    """A street that goes on for ever. The same seed gives the same world at every frame size.

    Args:
        seed: any integer >= 0.
        size_hw: frame height and width in pixels, at least 64 x 64 and even.
        fps: frames per second of `frames()`.
        traffic: how busy the street is; 0 is empty, 1 normal (about ten objects in view), at most 3.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(
        self, seed: int, *, size_hw: tuple[int, int] = (360, 640), fps: float = 30.0, traffic: float = 1.0
    ) -> None:
        if seed < 0:
            raise ConfigError(f"seed must be >= 0, got {seed}")
        if len(size_hw) != 2 or min(size_hw) < 64 or any(n % 2 for n in size_hw):
            raise ConfigError(f"size_hw must be two even numbers >= 64, got {size_hw}")
        if not (math.isfinite(fps) and fps > 0):
            raise ConfigError(f"fps must be > 0, got {fps}")
        if not 0 <= traffic <= 3:
            raise ConfigError(f"traffic must be in [0, 3], got {traffic}")
        self.seed, self.fps = seed, fps
        self.size_hw = (int(size_hw[0]), int(size_hw[1]))
        dice = Dice(seed)
        layout = Layout.roll(dice)
        camera = _roll_camera(dice, layout, self.size_hw)
        light = Light.roll(dice, camera.yaw)
        self._traffic = Traffic(layout, Dice(seed, 11), traffic)
        self._renderer: Renderer | None = None
        self._plan = (layout, camera, light)
        self._sensor = Sensor(seed, self.size_hw)
        self.time_s = 0.0
        self._traffic.advance(WARM_UP_S)

    @property
    def mood(self) -> str:
        """Time of day or weather: morning, noon, golden, dusk or overcast."""
        return self._plan[2].mood.name

    def advance(self, seconds: float) -> None:
        """Let time pass without drawing."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ConfigError(f"seconds must be >= 0, got {seconds}")
        if seconds > 0:
            self._traffic.advance(seconds)
            self.time_s += seconds

    def render(self) -> tuple[np.ndarray, SceneTruth]:
        """The present instant: a fresh uint8 [H, W, 3] BGR frame and its truth, ascending by id."""
        if self._renderer is None:  # painting the street takes a moment; who only advances does not pay for it
            layout, camera, light = self._plan
            self._renderer = Renderer(camera, light, paint(layout, camera, light, self.seed))
        frame, seen = self._renderer.draw(self._traffic.actors())
        seen.sort(key=lambda s: s.actor.id)
        truth = SceneTruth(
            ids=np.array([s.actor.id for s in seen], dtype=np.int64),
            boxes=np.array([s.box for s in seen], dtype=np.float32).reshape(-1, 4),
            class_ids=np.array([s.actor.kind for s in seen], dtype=np.int64),
            colour_ids=np.array([s.actor.colour for s in seen], dtype=np.int64),
            visible=np.array([s.visible for s in seen], dtype=np.float32),
        )
        return self._sensor.expose(frame, self.time_s), truth

    def frames(self, count: int | None = None) -> Iterator[tuple[np.ndarray, SceneTruth]]:
        """Frames 1 / fps apart, beginning with the present one; None = for ever."""
        if count is not None and count < 0:
            raise ConfigError(f"count must be >= 0 or None, got {count}")
        done = 0
        while count is None or done < count:
            yield self.render()
            self.advance(1.0 / self.fps)
            done += 1


def _roll_camera(dice: Dice, layout: Layout, size_hw: tuple[int, int]) -> Camera:
    """A camera on a house wall that looks across and down the street."""
    side = dice.pick(layout.sides)
    x = side.sign * (side.wall_x - 1.4)
    height = dice.uniform(5.2, 7.2)
    focal = dice.uniform(1.2, 1.5)  # of the frame height: 61 to 73 degrees across at 16:9
    aim_z = dice.uniform(13.0, 24.0)
    yaw = math.atan2(-x + side.sign * dice.uniform(-1.5, 1.5), aim_z)
    horizon = dice.uniform(0.12, 0.22)
    return Camera(x, height, yaw, math.atan((0.5 - horizon) / focal), focal, size_hw)


def gt_rows(index: int, truth: SceneTruth, size_hw: tuple[int, int]) -> list[str]:
    """MOTChallenge ground-truth lines of frame `index` (1-based): frame,id,x,y,w,h,conf,class,visibility.

    conf is 1 for an object that `counts`, else 0 (ignore); the class is 1-based.
    """
    rows = []
    for k, good in enumerate(counts(truth, size_hw)):
        x0, y0, x1, y1 = (float(v) for v in truth.boxes[k])
        rows.append(
            f"{index},{truth.ids[k]},{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f},"
            f"{int(good)},{truth.class_ids[k] + 1},{truth.visible[k]:.4f}"
        )
    return rows


def write_clip(
    scene: StreetScene, mp4_path: str | Path, gt_path: str | Path | None, *, frames: int, crf: int = 20,
    keyframe_every: int = 60,
) -> int:  # fmt: skip
    """Number of frames written: an H.264 clip and, unless `gt_path` is None, its MOTChallenge ground truth.

    Raises:
        ConfigError: `frames` is below 1.
        VideoError: a file cannot be written.
    """
    if frames < 1:
        raise ConfigError(f"frames must be >= 1, got {frames}")
    rate = Fraction(scene.fps).limit_denominator(1001)
    rows: list[str] = []
    height, width = scene.size_hw
    try:
        with av.open(str(mp4_path), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "medium"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.gop_size = keyframe_every
            for index, (pixels, truth) in enumerate(scene.frames(frames), start=1):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
                rows += gt_rows(index, truth, scene.size_hw)
            container.mux(stream.encode(None))
        if gt_path is not None:
            Path(gt_path).write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    except (OSError, av.FFmpegError) as error:
        raise VideoError(f"cannot write {mp4_path}: {error}; check that its folder exists and is writable") from error
    return frames


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 640x360")
    return int(height), int(width)


def main(argv: Sequence[str] | None = None) -> int:
    """Write a clip of the synthetic street."""
    parser = argparse.ArgumentParser(prog="python -m solutions.core.vision.scenes", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=_size, default=(360, 640), metavar="WxH", help="e.g. 640x360 (the default)")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--traffic", type=float, default=1.0, help="0 = empty, 1 = normal, 3 = crowded")
    parser.add_argument("--output", type=Path, required=True, help="the .mp4 to write")
    parser.add_argument("--truth", type=Path, help="the MOTChallenge gt.txt to write")
    args = parser.parse_args(argv)
    try:
        scene = StreetScene(args.seed, size_hw=args.size, fps=args.fps, traffic=args.traffic)
        written = write_clip(scene, args.output, args.truth, frames=args.frames)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{args.output}: {written} frames of {scene.size_hw[1]}x{scene.size_hw[0]}, {scene.mood}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
