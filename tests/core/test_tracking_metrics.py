import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.core.vision.mot import read_detections, read_seqinfo, read_truth
from solutions.core.vision.tracking_metrics import combine, score
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.tracker import Tracker
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig


def frame(*objects, classes=None):
    """Tracks of (id, left) or (id, left, conf): boxes of 10x10 pixels."""
    rows = [(*one, 1.0)[:3] for one in objects]
    boxes = np.array([[left, 0, left + 10, 10] for _, left, _ in rows], np.float32).reshape(-1, 4)
    class_ids = np.array(classes if classes else [0] * len(rows), np.int64)
    return Tracks(
        np.array([one[0] for one in rows], np.int64), boxes, np.array([one[2] for one in rows], np.float32), class_ids
    )


WALK = [frame((1, k)) for k in range(10)]


@pytest.mark.parametrize(
    ("truth", "results", "want"),
    [
        pytest.param(WALK, WALK, {"mota": 100, "idf1": 100, "hota": 100, "motp": 100, "ids": 0, "frag": 0}, id="same"),
        pytest.param(WALK, [], {"mota": 0, "idf1": 0, "hota": 0, "fn": 10, "fp": 0}, id="nothing-reported"),
        pytest.param([], WALK, {"fp": 10, "fn": 0, "mota": -1000, "hota": 0}, id="nothing-there"),
        pytest.param([], [], {"mota": 0, "hota": 0, "truths": 0}, id="empty"),
        pytest.param(
            WALK,
            [frame((1 if k < 5 else 2, k)) for k in range(10)],
            {"ids": 1, "mota": 90, "idf1": 50, "frag": 0, "assa": 50, "deta": 100},
            id="one-switch-in-the-middle",
        ),
        pytest.param(
            WALK,
            [frame((1, k)) if k not in (4, 5) else frame((9, 500)) for k in range(10)],
            {"ids": 0, "frag": 1, "fn": 2, "fp": 2},
            id="lost-and-found",
        ),
        pytest.param(
            [frame((1, 0), (2, 8))] * 2,
            [frame((1, 0), (2, 8)), frame((1, 3), (2, 11))],
            {"ids": 0},
            id="keeps-its-match",
        ),
    ],
)
def test_known_answers(truth, results, want):
    got = score(truth, results).as_dict()
    assert {name: got[name] for name in want} == pytest.approx(want)


def test_names_of_identities_do_not_matter():
    renamed = [Tracks(one.ids + 900, one.boxes, one.scores, one.class_ids) for one in WALK]
    assert score(WALK, renamed).as_dict() == score(WALK, WALK).as_dict()


def test_truth_not_to_be_judged_is_dropped_or_absorbs():
    truth = [frame((1, 0), (2, 100, 0.0))] * 4
    results = [frame((1, 0), (2, 100))] * 4
    dropped, absorbed = score(truth, results), score(truth, results, ignored="absorb")
    assert (dropped.fp, dropped.truths) == (4, 4)
    assert (absorbed.fp, absorbed.fn, absorbed.mota) == (0, 0, 1.0)


def test_frames_choose_what_is_judged():
    results = [frame((1, k)) if k < 5 else frame() for k in range(10)]
    assert score(WALK, results, frames=range(5)).mota == 1.0
    assert score(WALK, results, frames=range(5, 10)).fn == 5
    assert score(WALK, results, frames=range(20)).fn == 5


def test_classes_count_only_on_demand():
    results = [frame((1, k), classes=[3]) for k in range(10)]
    assert score(WALK, results).mota == 1.0
    assert score(WALK, results, class_aware=True).tp == 0


def test_overall_is_the_score_of_the_sums():
    good, bad = score(WALK, WALK), score(WALK * 3, [])
    both = combine([good, bad])
    assert (both.truths, both.fn, both.mota) == (40, 30, 0.25)
    assert both.deta == pytest.approx(0.25)
    assert both.assa == 1.0
    with pytest.raises(ConfigError, match="at least one"):
        combine([])


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match=r"twice in the results of frame 1: \[3, 3\]"):
        score([frame()], [frame((3, 0), (3, 50))])
    with pytest.raises(ConfigError, match="'drop' or 'absorb'"):
        score([], [], ignored="forget")


def scene(rng, frames, objects, shake):
    """Random walks with gaps, far apart or crossing."""
    lefts, out = rng.uniform(0, 60, objects), []
    for _ in range(frames):
        lefts = lefts + rng.normal(0, 1.5, objects)
        present = np.flatnonzero(rng.random(objects) < 0.85)
        out.append(
            frame(*((int(k), float(lefts[k] + rng.normal(0, shake)), float(rng.random() > 0.2)) for k in present))
        )
    return out


def judged_by_trackeval(truth, results, tmp_path, *, absorb):
    """Columns as ours, from files, through TrackEval's own readers."""
    trackeval = pytest.importorskip("trackeval", reason="not run here: trackeval is not installed")
    benchmark = "MOT17" if absorb else "MOT15"
    folder = tmp_path / "gt" / f"{benchmark}-train" / "S"
    (folder / "gt").mkdir(parents=True)
    (tmp_path / "tr" / f"{benchmark}-train" / "us" / "data").mkdir(parents=True)
    length = len(truth)
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nname=S\nseqLength={length}\n")
    write_exact(folder / "gt" / "gt.txt", truth, lambda conf: (int(conf != 0), 1 if conf else 8))
    write_exact(tmp_path / "tr" / f"{benchmark}-train" / "us" / "data" / "S.txt", results, lambda conf: (conf, -1))
    data = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(tmp_path / "gt"),
            "TRACKERS_FOLDER": str(tmp_path / "tr"),
            "OUTPUT_FOLDER": str(tmp_path),
            "BENCHMARK": benchmark,
            "SPLIT_TO_EVAL": "train",
            "SEQ_INFO": {"S": length},
            "PRINT_CONFIG": False,
        }
    )
    sequence = data.get_preprocessed_seq_data(data.get_raw_seq_data("us", "S"), "pedestrian")
    clear = trackeval.metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(sequence)
    identity = trackeval.metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(sequence)
    hota = trackeval.metrics.HOTA().eval_sequence(sequence)
    return {
        "mota": 100 * clear["MOTA"],
        "motp": 100 * clear["MOTP"],
        "idf1": 100 * identity["IDF1"],
        "hota": 100 * hota["HOTA"].mean(),
        "deta": 100 * hota["DetA"].mean(),
        "assa": 100 * hota["AssA"].mean(),
        "fp": clear["CLR_FP"],
        "fn": clear["CLR_FN"],
        "ids": clear["IDSW"],
        "frag": clear["Frag"],
        "truths": clear["CLR_TP"] + clear["CLR_FN"],
        "results": clear["CLR_TP"] + clear["CLR_FP"],
    }


def write_exact(path, frames, tail):
    """Rows with all the digits of the boxes, so that both sides judge the same numbers."""
    with open(path, "w") as handle:
        for number, one in enumerate(frames, start=1):
            boxes = one.boxes.astype(np.float64)
            for track_id, box, conf in zip(one.ids.tolist(), boxes.tolist(), one.scores.tolist(), strict=True):
                x1, y1, x2, y2 = box
                last = ",".join(map(repr, tail(conf)))
                handle.write(f"{number},{track_id},{x1!r},{y1!r},{x2 - x1!r},{y2 - y1!r},{last},-1,-1\n")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ignored", ["drop", "absorb"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_trackeval(seed, ignored, tmp_path):
    rng = np.random.default_rng(seed)
    truth = scene(rng, 40, 6, 0.0)
    if seed % 2:
        results = scene(rng, 40, 6, 1.0)
    else:  # the truth with errors: shaken, renamed half way, incomplete
        results = [
            Tracks(one.ids + 10 * (k > 20), one.boxes + np.float32(rng.normal(0, 1)), one.scores, one.class_ids)
            for k, one in enumerate(truth)
        ]
    want = judged_by_trackeval(truth, results, tmp_path, absorb=ignored == "absorb")
    assert score(truth, results, ignored=ignored).as_dict() == pytest.approx(want, abs=1e-6)


SEQUENCES = [
    *(f"MOT15/{name}" for name in ("TUD-Campus", "ETH-Sunnyday", "ETH-Pedcross2", "ADL-Rundle-8", "Venice-2")),
    *("MOT15/KITTI-17", "MOT15/PETS09-S2L1", "MOT17/MOT17-09", "MOT17/MOT17-13"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_equals_trackeval_on_real_sequences(sequence, tmp_path):
    data = os.environ.get("MLI_DATA")
    if not data:
        pytest.skip("not run here: MLI_DATA names no folder with MOT sequences")
    folder = Path(data, "mot", sequence)
    frames = read_seqinfo(folder / "seqinfo.ini").frames
    truth = read_truth(folder / "gt" / "gt.txt", frames=frames)
    tracker = Tracker(TrackerConfig.sort())
    detections = read_detections(next((folder / "det").iterdir()), frames=frames)
    results = [tracker.update_one(one) for one in detections]
    want = judged_by_trackeval(truth, results, tmp_path, absorb=False)
    assert score(truth, results).as_dict() == pytest.approx(want, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_ratios_stay_in_range_and_perfect_results_are_perfect(seed):
    rng = np.random.default_rng(seed)
    truth, results = scene(rng, 12, 4, 0.0), scene(rng, 12, 4, 2.0)
    got = score(truth, results)
    assert 0 <= got.hota <= 1
    assert 0 <= got.idf1 <= 1
    assert got.mota <= 1
    assert got.tp + got.fn == got.truths
    assert got.tp + got.fp == got.results
    judged = [one[one.scores != 0] for one in truth]
    if any(len(one) for one in judged):
        assert score(judged, judged).hota == pytest.approx(1.0)
