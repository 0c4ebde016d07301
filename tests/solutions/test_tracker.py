from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.phase4_production.video_analysis import association
from solutions.phase4_production.video_analysis.tracker import Tracker
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

PRESETS = {"sort": TrackerConfig.sort(), "byte": TrackerConfig.byte(), "pipeline": TrackerConfig.pipeline()}


def seen(*boxes, scores=None, classes=None):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores if scores is not None else [0.9] * count, np.float32),
        np.array(classes if classes is not None else [0] * count, np.int64),
    )


def walker(frame, *, left=0.0, speed=2.0, score=0.9, class_id=0):
    x = left + speed * frame
    return seen([x, 50, x + 20, 100], scores=[score], classes=[class_id])


def crowd(seed, frames=25, people=5):
    """Detections of people who walk about, with misses, ghosts and scores from poor to good."""
    rng = np.random.default_rng(seed)
    place, speed = rng.uniform(0, 300, (people, 2)), rng.normal(0, 3, (people, 2))
    out = []
    for _ in range(frames):
        place = place + speed
        there = place[rng.random(people) < 0.9] + rng.normal(0, 1, 2)
        if rng.random() < 0.3:
            there = np.concatenate([there, rng.uniform(0, 300, (1, 2))])
        boxes = np.concatenate([there, there + np.array([25, 60])], axis=1)
        out.append(seen(*boxes, scores=rng.uniform(0.05, 1, len(boxes)), classes=rng.integers(0, 2, len(boxes))))
    return out


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("ids", "boxes", "scores", "class_ids"))


# --- the life of a track ----------------------------------------------------------------------------------------------


def ids_over(config, frames):
    tracker = Tracker(config)
    return [tracker.update_one(one).ids.tolist() for one in frames]


NOBODY = seen()
W = [walker(k) for k in range(40)]


@pytest.mark.parametrize(
    ("config", "frames", "want"),
    [
        pytest.param("sort", W[:4], [[1]] * 4, id="sort-reports-at-once-in-the-first-frames"),
        pytest.param("sort", [NOBODY] * 3 + W[:5], [[]] * 6 + [[1], [1]], id="sort-waits-for-three-hits"),
        pytest.param(
            "sort", [*W[:4], NOBODY, *W[5:9]], [[1]] * 4 + [[]] * 3 + [[1], [1]], id="sort-a-miss-starts-anew"
        ),
        pytest.param(
            "sort", W[:4] + [NOBODY] * 2 + W[6:11], [[1]] * 4 + [[]] * 5 + [[2]] * 2, id="sort-two-misses-are-the-end"
        ),
        pytest.param("byte", W[:3], [[1]] * 3, id="byte-trusts-the-first-frame"),
        pytest.param("byte", [NOBODY, *W[:3]], [[], [], [1], [1]], id="byte-wants-a-second-sighting"),
        pytest.param("byte", [NOBODY, *W[:1], NOBODY, *W[2:4]], [[]] * 4 + [[1]], id="byte-forgets-a-single-sighting"),
        pytest.param("byte", W[:5] + [NOBODY] * 20 + W[25:27], [[1]] * 5 + [[]] * 20 + [[1]] * 2, id="byte-waits"),
        pytest.param(
            "byte", W[:5] + [NOBODY] * 31 + W[36:38], [[1]] * 5 + [[]] * 32 + [[2]], id="byte-waits-no-longer-than-that"
        ),
    ],
)
def test_when_a_track_is_reported(config, frames, want):
    assert ids_over(PRESETS[config], frames) == want


def test_byte_thresholds():
    good, poor, bad = 0.9, 0.3, 0.05
    scored = lambda *scores: [walker(k, score=score) for k, score in enumerate(scores)]  # noqa: E731
    byte = PRESETS["byte"]
    assert ids_over(byte, scored(good, poor, poor)) == [[1]] * 3, "a low score continues a track"
    assert ids_over(byte, scored(good, bad, good)) == [[1], [], [1]], "a very low one is not there"
    assert ids_over(byte, scored(poor, poor)) == [[], []], "a low score begins nothing"
    assert ids_over(byte, scored(0.65, 0.65)) == [[], []], "a new track needs high + 0.1"
    assert ids_over(byte, scored(0.7, 0.6)) == [[1], [1]], "the thresholds themselves are enough"
    lost = [walker(0), NOBODY, walker(2, score=poor), walker(3)]
    assert ids_over(byte, lost) == [[1], [], [], [1]], "a low score does not wake a lost track"


def test_class_aware_keeps_a_car_a_car():
    frames = [walker(k, class_id=int(k == 2)) for k in range(4)]
    agnostic, aware = (Tracker(TrackerConfig.byte(class_aware=on)) for on in (False, True))
    assert [agnostic.update_one(one).class_ids.tolist() for one in frames] == [[0], [0], [1], [0]]
    assert [aware.update_one(one).class_ids.tolist() for one in frames] == [[0], [0], [], [0]]


# --- frames without detection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_without_detection_tracks_move_on_and_are_reported(name):
    tracker = Tracker(PRESETS[name])
    for k in range(10):
        tracker.update_one(walker(k))
    for k in range(10, 16):
        tracks = tracker.update_one(None)
        assert tracks.ids.tolist() == [1]
        np.testing.assert_allclose(tracks.boxes[0], walker(k).boxes[0], atol=2.0)
    assert tracker.update_one(walker(16)).ids.tolist() == [1]


@pytest.mark.parametrize("name", PRESETS)
def test_a_detector_interval_costs_no_identity(name):
    frames = [walker(k) if k % 4 == 0 else None for k in range(80)]
    reported = ids_over(PRESETS[name], frames)
    assert reported == [[1]] * 80


def test_the_allowance_ends():
    config = TrackerConfig(max_coast=3, max_misses=2)
    reported = ids_over(config, [walker(0), walker(1)] + [None] * 5 + [walker(7)])
    assert reported == [[1]] * 5 + [[], [], [1]]
    assert ids_over(config, [walker(0), walker(1)] + [None] * 6 + [walker(8)])[-1] == []


def test_a_lost_track_is_not_reported_between_detections():
    assert ids_over(PRESETS["byte"], [*W[:3], NOBODY, None, W[5]]) == [[1]] * 3 + [[], [], [1]]


# --- many streams -----------------------------------------------------------------------------------------------------


def gappy(seed, frames=25):
    """A crowd with frames on which no detector ran."""
    rng = np.random.default_rng(seed + 10**6)
    return [None if rng.random() < 0.2 else one for one in crowd(seed, frames)]


@pytest.mark.parametrize("name", PRESETS)
def test_a_hundred_streams_together_are_each_as_alone(name):
    streams = {f"cam{k}": gappy(k) for k in range(100)}
    together = Tracker(PRESETS[name])
    alone = {stream: Tracker(PRESETS[name]) for stream in streams}
    reported = 0
    for k in range(25):
        result = together.update({stream: frames[k] for stream, frames in streams.items()})
        assert list(result) == list(streams)
        for stream, frames in streams.items():
            assert same(result[stream], alone[stream].update_one(frames[k])), (stream, k)
            reported += len(result[stream])
    assert reported > 1000


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_order_company_and_pauses_of_streams_do_not_matter(data):
    streams = {name: gappy(seed, 12) for seed, name in enumerate("abcdef")}
    tracker, alone = Tracker(), {name: Tracker() for name in streams}
    done = dict.fromkeys(streams, 0)
    while min(done.values()) < 12:
        ready = [name for name in streams if done[name] < 12]
        called = data.draw(st.permutations(ready).flatmap(lambda p: st.sampled_from([p, p[: 1 + len(p) // 2]])))
        result = tracker.update({name: streams[name][done[name]] for name in called})
        assert list(result) == list(called)
        for name in called:
            assert same(result[name], alone[name].update_one(streams[name][done[name]]))
            done[name] += 1


def test_removal_forgets_one_stream_and_leaves_the_others():
    streams = {name: crowd(seed) for seed, name in enumerate("abc")}
    tracker, alone = Tracker(), {name: Tracker() for name in streams}
    for k in range(25):
        if k == 10:
            tracker.remove("b")
            tracker.remove("b")
            assert set(tracker.stream_ids) == {"a", "c"}
            alone["b"] = Tracker()
        if k == 15:  # the freed place goes to a stranger, who must find nothing in it
            streams["d"], alone["d"] = crowd(7, 10), Tracker()
        frames = {name: one[k - 15 if name == "d" else k] for name, one in streams.items()}
        for name, tracks in tracker.update(frames).items():
            assert same(tracks, alone[name].update_one(frames[name])), (name, k)


def test_ids_are_those_of_the_stream_and_have_no_gaps():
    tracker = Tracker()
    ids = {name: set() for name in "ab"}
    for frames in zip(crowd(1, 60), crowd(2, 60), strict=True):
        for name, tracks in tracker.update(dict(zip("ab", frames, strict=True))).items():
            assert len(set(tracks.ids.tolist())) == len(tracks)
            ids[name] |= set(tracks.ids.tolist())
    for used in ids.values():
        assert used == set(range(1, len(used) + 1))
        assert len(used) > 3


def test_no_streams_no_detections_no_trouble():
    tracker = Tracker()
    assert tracker.update({}) == {}
    assert len(tracker.update_one(None)) == 0
    assert len(tracker.update_one(NOBODY)) == 0
    assert {len(one) for one in tracker.update({"a": None, "b": NOBODY, "c": W[0]}).values()} == {0, 1}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(PRESETS)), st.integers(0, 10**6), st.integers(1, 25))
def test_leaving_a_small_table_whole_changes_no_bit(name, seed, people):
    picky, whole = Tracker(PRESETS[name]), Tracker(PRESETS[name])
    for one in crowd(seed, 15, people):
        with patch.object(association, "_FEW", -1):
            picked = picky.update_one(one)
        with patch.object(association, "_FEW", 10**6):
            assert same(whole.update_one(one), picked)


# --- input that no detector should give -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "box",
    [
        pytest.param([np.nan, 0, 5, 5], id="nan"),
        pytest.param([0, 0, np.inf, 5], id="infinite"),
        pytest.param([-np.inf, 0, np.inf, 5], id="all-infinite"),
        pytest.param([np.inf, 0, np.inf, 5], id="begins-at-infinity"),
        pytest.param([0, 0, 5, -np.inf], id="ends-at-minus-infinity"),
        pytest.param([0, 0, 1e30, 1e30], id="astronomic"),
        pytest.param([5, 5, 5, 9], id="no-width"),
        pytest.param([9, 9, 5, 5], id="inside-out"),
    ],
)
def test_impossible_boxes_are_dropped(name, box):
    tracker, clean = Tracker(PRESETS[name]), Tracker(PRESETS[name])
    for k in range(5):
        good = walker(k).boxes[0]
        assert same(tracker.update_one(seen(box, good, box)), clean.update_one(seen(good)))
        both = tracker.update({"x": seen(box, good), "y": seen(box)})
        assert (len(both["x"]), len(both["y"])) == (1, 0)


def test_a_score_that_is_no_number_is_dropped():
    assert len(Tracker().update_one(walker(0, score=np.nan))) == 0


def test_tiny_and_huge_boxes_survive_every_preset():
    for config in PRESETS.values():
        tracker = Tracker(config)
        for _ in range(10):
            tracks = tracker.update_one(seen([0, 0, 1e-20, 1e-20], [-9e5, -9e5, 9e5, 9e5], [5, 5, 5.0001, 900]))
            assert np.isfinite(tracks.boxes).all()


def test_detections_are_left_as_they_were():
    detections = crowd(3, 1)[0]
    before = detections.boxes.copy()
    tracks = Tracker(TrackerConfig.sort()).update_one(detections)
    tracks.boxes[:] = 0
    tracks.scores[:] = 0
    np.testing.assert_array_equal(detections.boxes, before)
    assert (detections.scores > 0).all()


@pytest.mark.parametrize(
    ("settings_", "complaint"),
    [
        ({"low_score": 0.7}, "low_score"),
        ({"new_score": 0.5}, "new_score"),
        ({"high_score": float("nan")}, "high_score"),
        ({"match_iou": 1.5}, "match_iou"),
        ({"min_hits": -1}, "min_hits"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings_, complaint):
    with pytest.raises(ConfigError, match=complaint):
        TrackerConfig(**settings_)
