import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections, iou_matrix
from solutions.phase4_production.video_analysis.association import assign, overlapping_pairs
from solutions.phase4_production.video_analysis.kalman import height_motion, sort_motion
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


# --- the filter -------------------------------------------------------------------------------------------------------


def textbook(kind, boxes):
    """Means of a Kalman filter with full 8x8 matrices, fed with boxes [frames, 4] in the order predict, update."""
    transition = np.eye(8) + np.eye(8, k=4)
    look = np.eye(4, 8)

    def code(box):
        width, height = box[2] - box[0], box[3] - box[1]
        size = (width * height, width / height) if kind == "sort" else (width / height, height)
        return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, *size])

    def noises(height):
        if kind == "sort":
            return (
                np.diag([1, 1, 1, 1, 0.01, 0.01, 0.0001, 0.0]),
                np.diag([1.0, 1, 10, 10]),
                np.diag([10.0] * 4 + [1e4] * 3 + [0]),
            )
        place, speed = height / 20, height / 160
        return (
            np.diag(np.square([place, place, 1e-2, place, speed, speed, 1e-5, speed])),
            np.diag(np.square([place, place, 1e-1, place])),
            np.diag(np.square([2 * place, 2 * place, 1e-2, 2 * place, 10 * speed, 10 * speed, 1e-5, 10 * speed])),
        )

    mean = np.concatenate([code(boxes[0]), np.zeros(4)])
    covariance = noises(mean[3])[2]
    means = [mean]
    for box in boxes[1:]:
        process = noises(mean[3])[0]
        mean, covariance = transition @ mean, transition @ covariance @ transition.T + process
        measurement = noises(mean[3])[1]
        gain = covariance @ look.T @ np.linalg.inv(look @ covariance @ look.T + measurement)
        mean = mean + gain @ (code(box) - look @ mean)
        covariance = covariance - gain @ look @ covariance
        means.append(mean)
    return np.array(means)


@pytest.mark.parametrize("kind", ["sort", "byte"])
def test_closed_form_equals_the_matrix_filter(kind):
    model = sort_motion() if kind == "sort" else height_motion()
    rng = np.random.default_rng(1)
    corners = np.cumsum(rng.normal(1, 2, (30, 3, 2)), axis=0) + 50
    boxes = np.concatenate([corners, corners + rng.uniform(30, 60, (30, 3, 2))], axis=2)  # [frames, tracks, 4]
    filters = model.start(model.measure(boxes[0].T.copy()))
    order = np.array([2, 0, 1])
    for frame in boxes[1:]:
        model.predict(filters)
        model.update(filters, order, model.measure(frame[order].T.copy()))
    for track in range(3):
        want = textbook(kind, boxes[:, track])[-1]
        np.testing.assert_allclose(filters[:2, :, track].ravel(), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [sort_motion(), height_motion()], ids=["sort", "byte"])
def test_boxes_and_measurements_are_inverse(model):
    boxes = np.array([[0.0, -5, 100], [1, -8, 200], [30, 5, 101], [61, 8, 290]])
    np.testing.assert_allclose(model.boxes(model.measure(boxes)), boxes)


@pytest.mark.parametrize("model", [sort_motion(), height_motion()], ids=["sort", "byte"])
def test_a_size_never_shrinks_to_nothing(model):
    filters = model.start(model.measure(np.array([[0.0], [0], [10], [20]])))
    filters[1, 2:] = -1000
    for _ in range(5):
        model.predict(filters)
    assert (filters[0, 2:] > 0).all()
    assert np.isfinite(model.boxes(filters[0])).all()


# --- association ------------------------------------------------------------------------------------------------------


def random_boxes(rng, count):
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=5), st.integers(0, 10**6))
def test_pairs_and_matching_equal_the_hungarian_method_on_each_stream(sizes, seed):
    rng = np.random.default_rng(seed)
    tracks = [random_boxes(rng, count) for count, _ in sizes]
    detections = [random_boxes(rng, count) for _, count in sizes]
    row_edges, col_edges = (np.cumsum([0, *map(len, parts)]) for parts in (tracks, detections))
    floor, extra = float(rng.choice([0.0, 0.1, 0.4])), float(rng.choice([0.0, 0.2]))
    pairs = overlapping_pairs(
        np.concatenate(tracks).T.copy(), row_edges, np.concatenate(detections).T.copy(), col_edges, floor=floor
    )
    rows, cols = assign(pairs, pairs.iou - floor - extra, row_edges, col_edges)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(cols.tolist())) == len(cols)
    found = dict(zip(rows.tolist(), cols.tolist(), strict=True))
    listed = 0
    for k, (a, b) in enumerate(zip(tracks, detections, strict=True)):
        iou = iou_matrix(a, b)
        gain = np.maximum(iou - floor - extra, 0)
        listed += int((iou > floor).sum())
        best = gain[linear_sum_assignment(gain, maximize=True)].sum()
        mine = {
            row - row_edges[k]: found[row] - col_edges[k] for row in found if row_edges[k] <= row < row_edges[k + 1]
        }
        assert all(0 <= col < len(b) for col in mine.values()), "a pair crosses two streams"
        assert all(gain[row, col] > 0 for row, col in mine.items()), "a pair below the floor"
        assert sum(gain[row, col] for row, col in mine.items()) == pytest.approx(best)
    assert len(pairs.rows) == listed


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


# --- input that no detector should give -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "box",
    [
        pytest.param([np.nan, 0, 5, 5], id="nan"),
        pytest.param([0, 0, np.inf, 5], id="infinite"),
        pytest.param([-np.inf, 0, np.inf, 5], id="all-infinite"),
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
