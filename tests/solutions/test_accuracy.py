from __future__ import annotations

import numpy as np
import pytest

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.detection import Detections
from solutions.core.vision.scenes import CLASSES, SceneTruth
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.accuracy import AccuracyLog, file_truth, scene_truth
from solutions.phase4_production.video_analysis.results import FrameResult
from tests.solutions.pipeline_parts import detections, frame

COCO = ("person", "bicycle", "car")
BOXES = np.array([[10, 10, 40, 90], [60, 20, 100, 110]], np.float32)


def truth_of(boxes=BOXES, class_ids=(4, 0), visible=(1.0, 1.0)):
    count = len(boxes)
    return SceneTruth(
        np.arange(1, count + 1), boxes, np.array(class_ids), np.zeros(count, np.int64), np.array(visible, np.float32)
    )


def result(index, found: Detections, ids=None):
    tracks = Tracks(np.array(ids or range(1, len(found) + 1), np.int64), found.boxes, found.scores, found.class_ids)
    return FrameResult("cam", index, index / 30, 0.0, 0.01, found, tracks)


def right(class_ids=(4, 0)):
    found = detections(*BOXES.tolist())
    return Detections(found.boxes, found.scores, np.array(class_ids))


def test_a_perfect_run_scores_one():
    log = AccuracyLog(scene_truth(CLASSES))
    for k in range(4):
        log.add(frame(k, truth=truth_of()), result(k, right()))
    assert log.scores() == pytest.approx({"ap50": 1.0, "mota": 1.0, "idf1": 1.0, "hota": 1.0, "ids": 0})


@pytest.mark.parametrize(
    ("spoil", "figure", "worse_than"),
    [
        pytest.param(lambda k: result(k, right()[:1]), "mota", 0.51, id="one-object-missed"),
        pytest.param(lambda k: result(k, right((0, 0))), "ap50", 0.51, id="a-pedestrian-called-a-car"),
        pytest.param(
            lambda k: result(k, right(), [1, 2] if k % 2 else [2, 1]), "idf1", 0.51, id="ids-swap-every-frame"
        ),
    ],
)
def test_errors_cost(spoil, figure, worse_than):
    log = AccuracyLog(scene_truth(CLASSES))
    for k in range(6):
        log.add(frame(k, truth=truth_of()), spoil(k))
    assert log.scores()[figure] < worse_than


def test_frames_that_were_lost_count_as_frames_with_nothing_found(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("".join(f"{k},1,10,10,30,80,1,5,1.0\n" for k in range(1, 5)))
    log = AccuracyLog(file_truth(str(path), CLASSES))
    for k in (0, 3):
        log.add(frame(k), result(k, right()[:1]))
    assert log.scores()["mota"] == pytest.approx(0.5)


def test_truth_too_hidden_to_count_is_neither_right_nor_wrong():
    log = AccuracyLog(scene_truth(CLASSES))
    for k in range(3):
        log.add(frame(k, truth=truth_of(visible=(1.0, 0.1))), result(k, right()))
    assert log.scores()["mota"] == 1.0


def test_without_truth_there_is_no_score():
    log = AccuracyLog(scene_truth(CLASSES))
    log.add(frame(0), result(0, right()))
    assert log.scores() is None


def test_a_file_about_pedestrians_judges_persons_only(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,10,30,80,1,-4.2,-7.4,0\n2,1,10,10,30,80,1,-4.1,-7.4,0\n")  # MOT15 ends in a world place
    log = AccuracyLog(file_truth(str(path), COCO))
    found = Detections(BOXES, np.array([0.9, 0.9], np.float32), np.array([0, 2]))  # the car is nobody's business
    for k in range(2):
        log.add(frame(k), result(k, found))
    assert log.scores()["mota"] == 1.0
    assert log.scores()["ap50"] == pytest.approx(1.0)


def test_other_classes_of_mot17_are_not_judged(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,10,30,80,1,1,1.0\n1,2,60,20,40,90,1,7,1.0\n")  # 7 is somebody on a poster
    log = AccuracyLog(file_truth(str(path), COCO))
    log.add(frame(0), result(0, right((0, 0))))
    assert log.scores()["mota"] == 1.0


def test_a_detector_without_pedestrians_cannot_be_judged(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,10,30,80,1,-1,-1,-1\n")
    with pytest.raises(ConfigError, match="no class named person"):
        file_truth(str(path), ("cat", "dog"))


def test_scene_truth_wants_the_street_classes():
    with pytest.raises(ConfigError, match="car, truck, bus"):
        scene_truth(COCO)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(VideoError, match=r"none\.txt cannot be read"):
        file_truth(str(tmp_path / "none.txt"), COCO)
