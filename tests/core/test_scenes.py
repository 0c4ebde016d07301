"""The synthetic street: the same for ever, and honest about what it shows."""

from __future__ import annotations

import itertools
import zlib

import av
import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.core.vision import scenes
from solutions.core.vision.scenes import CLASSES, COLOURS, SceneTruth, StreetScene, counts, gt_rows, main, write_clip
from solutions.core.vision.street import render

SIZE = (180, 320)
GOLDEN_FRAMES = 2294732448
GOLDEN_TRUTH = 4228463663


def fingerprint(scene, frames):
    pixels = truth_crc = 0
    for frame, truth in scene.frames(frames):
        pixels = zlib.crc32(frame.tobytes(), pixels)
        table = np.column_stack([truth.ids, truth.class_ids, truth.colour_ids, np.rint(truth.boxes * 4)])
        truth_crc = zlib.crc32(table.astype("<i8").tobytes(), truth_crc)
    return pixels, truth_crc


def test_a_seed_is_a_world_for_ever():
    assert fingerprint(StreetScene(7, size_hw=SIZE), 5) == (GOLDEN_FRAMES, GOLDEN_TRUTH)


def test_two_instances_agree_and_seeds_differ():
    one, two, other = (fingerprint(StreetScene(seed, size_hw=(96, 160)), 3) for seed in (5, 5, 6))
    assert one == two != other


def test_advance_is_the_same_world_as_rendering_every_frame():
    watched, skipped = StreetScene(3, size_hw=(96, 160)), StreetScene(3, size_hw=(96, 160))
    for _ in watched.frames(4):
        pass
    for _ in range(4):
        skipped.advance(1 / 30)
    np.testing.assert_array_equal(watched.render()[0], skipped.render()[0])


def test_truth_has_the_promised_shapes_and_ranges():
    scene = StreetScene(2, size_hw=SIZE)
    for _ in range(10):
        frame, truth = scene.render()
        scene.advance(1.0)
        n = len(truth)
        assert frame.shape == (*SIZE, 3)
        assert frame.dtype == np.uint8
        assert (truth.ids.dtype, truth.boxes.dtype, truth.visible.dtype) == (np.int64, np.float32, np.float32)
        assert truth.boxes.shape == (n, 4)
        assert len(set(truth.ids.tolist())) == n
        assert ((truth.visible > 0) & (truth.visible <= 1)).all()
        assert ((truth.boxes >= 0) & (truth.boxes <= [320, 180, 320, 180])).all()
        assert (truth.boxes[:, 2:] > truth.boxes[:, :2]).all()


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_box_is_tight_around_the_object_painted_alone(seed, monkeypatch):
    scene = StreetScene(seed, size_hw=(360, 640))
    _, truth = scene.render()
    actors = {actor.id: actor for actor in scene._traffic.actors()}
    renderer = scene._renderer
    empty, nobody = renderer.draw([])
    assert nobody == []
    renderer.backdrop.things[:] = 0  # nothing in front
    monkeypatch.setattr(render, "cast", lambda *args: None)  # a shadow does not count to the object
    for k, object_id in enumerate(truth.ids.tolist()):
        alone, seen = renderer.draw([actors[object_id]])
        rows, columns = np.nonzero((alone != empty).any(axis=2))
        painted = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        # the outermost pixels may be covered by less than a half and then do not count to the box
        assert np.abs(painted - truth.boxes[k]).max() <= 2
        assert truth.visible[k] <= seen[0].visible + 1e-6
        inside = (truth.boxes[k] > 3).all() and (truth.boxes[k] < [637, 357, 637, 357]).all()
        if inside:
            assert seen[0].visible == 1.0


def test_visible_fraction_is_the_share_of_pixels_that_stay():
    scene = StreetScene(4, size_hw=(360, 640))
    scene.render()
    renderer, actors = scene._renderer, scene._traffic.actors()
    _, seen = renderer.draw(actors)
    hidden = [s for s in seen if s.visible < 0.9]
    assert hidden, "this scene shows nobody behind anybody"
    free = [s for s in seen if s.visible == 1.0]
    assert free, "this scene shows nobody in full"
    for one in hidden:
        _, alone = renderer.draw([one.actor])
        assert alone[0].visible >= one.visible
        assert alone[0].box == one.box


def test_things_enter_and_leave_and_keep_class_and_colour():
    scene = StreetScene(9, size_hw=(96, 160))
    met: dict[int, tuple[int, int]] = {}
    first = last = set()
    for k in range(60):
        _, truth = scene.render()
        last = set(truth.ids.tolist())
        first = first or last
        for i, c, colour in zip(truth.ids.tolist(), truth.class_ids.tolist(), truth.colour_ids.tolist(), strict=True):
            assert met.setdefault(i, (c, colour)) == (c, colour)
        scene.advance(0.5 if k else 0.0)
    assert first - last
    assert last - first


def test_every_class_in_nearly_every_seed_and_every_colour():
    colours: set[int] = set()
    shown = []
    for seed in range(8):
        scene = StreetScene(seed, size_hw=(96, 160))
        classes: set[int] = set()
        for _ in range(20):
            _, truth = scene.render()
            good = counts(truth, scene.size_hw)
            classes |= set(truth.class_ids[good].tolist())
            colours |= set(truth.colour_ids[good].tolist())
            scene.advance(1.5)
        shown.append(len(classes))
    assert colours == set(range(len(COLOURS)))
    assert sum(n == len(CLASSES) for n in shown) >= 6


def test_another_size_is_the_same_world():
    small, large = StreetScene(7, size_hw=(180, 320)).render()[1], StreetScene(7, size_hw=(360, 640)).render()[1]
    common, a, b = np.intersect1d(small.ids, large.ids, return_indices=True)
    assert len(common) >= len(large) - 2
    assert np.abs(small.boxes[a] * 2 - large.boxes[b]).max() <= 4
    np.testing.assert_array_equal(small.class_ids[a], large.class_ids[b])


def test_nobody_drives_through_anybody():
    for seed in (1, 3, 8):
        scene = StreetScene(seed, size_hw=(96, 160))
        for _ in range(300):
            scene.advance(0.1)
            for _, queue in scene._traffic._lanes:
                for front, rear in itertools.pairwise(queue):
                    assert front.s - front.length / 2 > rear.s + rear.length / 2
            for walker in scene._traffic._walkers:
                for _, queue in scene._traffic._lanes if walker.crossing else []:
                    for car in queue:
                        over = abs(car.x - walker.x) < car.width / 2 and abs(car.z - walker.z) < car.length / 2
                        assert not over, f"seed {seed}: {car} drives over {walker}"


def test_empty_street():
    frame, truth = StreetScene(1, size_hw=(96, 160), traffic=0).render()
    assert len(truth) == 0
    assert truth.boxes.shape == (0, 4)
    assert frame.std() > 10


def test_frames_are_fresh():
    scene = StreetScene(1, size_hw=(96, 160))
    one, _ = scene.render()
    one[:] = 0
    assert scene.render()[0].any()


@pytest.mark.parametrize(
    ("kwargs", "value"),
    [
        pytest.param({"seed": -1}, "-1", id="seed"),
        pytest.param({"size_hw": (63, 100)}, r"\(63, 100\)", id="small"),
        pytest.param({"size_hw": (101, 200)}, r"\(101, 200\)", id="odd"),
        pytest.param({"fps": 0.0}, "0.0", id="fps"),
        pytest.param({"fps": float("nan")}, "nan", id="fps-nan"),
        pytest.param({"traffic": 3.5}, "3.5", id="traffic"),
    ],
)
def test_bad_arguments(kwargs, value):
    with pytest.raises(ConfigError, match=value):
        StreetScene(**({"seed": 1} | kwargs))


def test_bad_steps():
    scene = StreetScene(1, size_hw=(96, 160))
    with pytest.raises(ConfigError, match=r"-0\.5"):
        scene.advance(-0.5)
    with pytest.raises(ConfigError, match="-2"):
        next(scene.frames(-2))
    with pytest.raises(ConfigError, match="0"):
        write_clip(scene, "x.mp4", "x.txt", frames=0)


def test_counts_and_rows():
    truth = SceneTruth(
        ids=np.array([4, 9, 11]),
        boxes=np.array([[10, 20, 30, 60], [0, 0, 40, 40], [5, 5, 8, 12]], np.float32),
        class_ids=np.array([0, 4, 3]),
        colour_ids=np.array([0, 1, 2]),
        visible=np.array([1.0, 0.2, 1.0], np.float32),
    )
    assert counts(truth, (240, 320)).tolist() == [True, False, False]
    assert gt_rows(3, truth, (240, 320))[0] == "3,4,10.00,20.00,20.00,40.00,1,1,1.0000"
    assert gt_rows(3, truth, (240, 320))[1] == "3,9,0.00,0.00,40.00,40.00,0,5,0.2000"


def test_clip_plays_and_truth_fits(tmp_path):
    clip, gt = tmp_path / "a.mp4", tmp_path / "gt.txt"
    assert write_clip(StreetScene(7, size_hw=(96, 160)), clip, gt, frames=7) == 7
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 160, 96)
        pixels = [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]
    assert len(pixels) == 7
    scene = StreetScene(7, size_hw=(96, 160))
    want = [row for i, (_, truth) in enumerate(scene.frames(7), 1) for row in gt_rows(i, truth, scene.size_hw)]
    assert gt.read_text().splitlines() == want


def test_command_line(tmp_path, capsys):
    out = str(tmp_path / "a.mp4")
    assert main(["--frames", "2", "--size", "160x96", "--output", out, "--truth", str(tmp_path / "gt.txt")]) == 0
    assert "2 frames of 160x96" in capsys.readouterr().out
    assert main(["--frames", "2", "--size", "161x96", "--output", out]) == 2
    assert "(96, 161)" in capsys.readouterr().err
    assert main(["--frames", "2", "--size", "160x96", "--output", str(tmp_path / "no" / "a.mp4")]) == 2
    with pytest.raises(SystemExit) as stop:
        main(["--size", "wide", "--output", out])
    assert stop.value.code == 2


def test_colours_and_classes_are_as_published():
    assert scenes.CLASSES == ("car", "truck", "bus", "bicycle", "pedestrian")
    assert scenes.COLOURS == ("white", "grey", "black", "red", "blue", "green", "yellow")
