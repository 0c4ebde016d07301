"""The detector: boxes land in frame pixels, batches of any kind agree with single frames, settings are checked."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper

from solutions.core.errors import ConfigError, ModelLoadError, PipelineStopped
from solutions.core.tensors import TensorSpec
from solutions.core.vision.images import to_blob
from solutions.core.vision.letterbox import letterbox
from solutions.phase1_basics.model_loader import load_model
from solutions.phase4_production.video_analysis.detector import Detector, load_detector
from solutions.phase4_production.video_analysis.heads import GridHead
from tests.solutions.onnx_builders import save, saying, small_network

REAL = os.environ.get("MLI_DATA")


def yolov8_saying(path, *rows, canvas=(64, 128), columns=168):
    """A YOLOv8 of three classes that always sees the given (x, y, w, h, class, score)."""
    table = np.zeros((7, columns), np.float32)
    for column, (x, y, w, h, class_id, score) in enumerate(rows):
        table[:4, column] = x, y, w, h
        table[4 + class_id, column] = score
    return saying(path, table, canvas, {"names": "{0: 'cat', 1: 'dog', 2: 'bird'}"})


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)


def test_boxes_come_out_in_frame_pixels(tmp_path, frame):
    # 100x100 on 64x128: scale 0.64, 32 pixels of padding left and right
    path = yolov8_saying(tmp_path / "m.onnx", (64, 32, 32, 16, 1, 0.8), (40, 60, 40, 40, 2, 0.9))
    detector = load_detector(path, threads=1)
    found = detector.detect(frame)
    assert [detector.labels[class_id] for class_id in found.class_ids] == ["bird", "dog"]
    np.testing.assert_allclose(found.boxes[1], [25, 37.5, 75, 62.5], atol=1e-3)
    np.testing.assert_allclose(found.boxes[0], [0, 62.5, 43.75, 100], atol=1e-3)


def test_the_three_stages_are_the_whole(tmp_path, frame):
    detector = load_detector(yolov8_saying(tmp_path / "m.onnx", (64, 32, 32, 16, 1, 0.8)), threads=1)
    prepared = detector.preprocess(frame)
    (found,) = detector.decode(detector.run(prepared.blob), [prepared.transform])
    np.testing.assert_array_equal(found.boxes, detector.detect(frame).boxes)


def test_preprocess_is_letterbox_and_blob(tmp_path, frame):
    detector = load_detector(small_network(tmp_path / "m.onnx"), threads=1)
    want = to_blob(letterbox(frame, (64, 96), centre=False)[0])
    np.testing.assert_array_equal(detector.preprocess(frame).blob, want)


def test_frames_that_were_scaled_before_give_boxes_in_their_own_pixels(tmp_path, frame):
    detector = load_detector(yolov8_saying(tmp_path / "m.onnx", (64, 32, 32, 16, 1, 0.8)), threads=1)
    assert detector.picture_hw((100, 100)) == (64, 64)
    scaled = np.asarray(cv2.resize(frame, (64, 64)))
    (found,) = detector.detect_timed([scaled], frame_sizes=[(100, 100)]).detections
    np.testing.assert_allclose(found.boxes, [[25, 37.5, 75, 62.5]], atol=1e-3)


def test_doubles_go_and_the_best_are_kept(tmp_path, frame):
    rows = [(20 + 25 * i, 30, 20, 20, i % 3, 0.5 + 0.1 * i) for i in range(4)]
    path = yolov8_saying(tmp_path / "m.onnx", *rows, (21, 30, 20, 20, 0, 0.4))
    assert len(load_detector(path, score_threshold=0.1).detect(frame)) == 4
    assert len(load_detector(path, score_threshold=0.1, iou_threshold=1.0).detect(frame)) == 5
    np.testing.assert_allclose(load_detector(path, max_detections=2).detect(frame).scores, [0.8, 0.7])
    np.testing.assert_allclose(load_detector(path, score_threshold=0.65).detect(frame).scores, [0.8, 0.7])
    cats = load_detector(path, wanted=["cat"]).detect(frame)
    assert set(cats.class_ids.tolist()) == {0}


def test_thousands_of_candidates_are_cut_to_the_best(tmp_path, frame):
    rows = [(64, 32, 8, 8, 0, 0.3 + i * 1e-4) for i in range(1344)]
    path = yolov8_saying(tmp_path / "m.onnx", *rows, canvas=(256, 256), columns=1344)
    found = load_detector(path, score_threshold=0.01, iou_threshold=1.0, max_detections=5000).detect(frame)
    assert len(found) == 1000
    np.testing.assert_allclose(found.scores.min(), 0.3 + 344e-4, rtol=1e-5)


def test_a_batch_of_mixed_sizes_is_each_frame_alone(tmp_path):
    random = np.random.default_rng(1)
    frames = [random.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(64, 96), (200, 90), (48, 48)]]
    detector = load_detector(small_network(tmp_path / "m.onnx"), threads=1, score_threshold=0.3)
    alone = [detector.detect(frame) for frame in frames]
    for got, want in zip(detector.detect_batch(frames), alone, strict=True):
        np.testing.assert_allclose(got.boxes, want.boxes, atol=1e-2)
    assert sum(map(len, alone)) > 0
    assert detector.detect_batch([]) == []


class FixedBatch:
    """A grid model that wants exactly four images and reports the mean of each as a score."""

    name, format, device = "fixed", "fake", "cpu"
    inputs = (TensorSpec("images", (4, 3, 32, 32)),)
    outputs = (TensorSpec("grid", (4, 9, 4, 4)),)
    metadata = {"head": "grid"}  # noqa: RUF012
    calls = 0

    def predict(self, feeds):
        assert feeds["images"].shape == (4, 3, 32, 32)
        self.calls += 1
        grid = np.full((4, 9, 4, 4), -9.0, np.float32)
        grid[:, 0, 1, 1] = feeds["images"].mean(axis=(1, 2, 3)) / 10
        grid[:, 5:, 1, 1] = 0
        return {"grid": grid}

    def close(self):
        pass


def test_a_fixed_batch_is_filled_up():
    model = FixedBatch()
    frames = [np.full((32, 32, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)]
    found = Detector(model).detect_batch(frames)
    assert model.calls == 2
    np.testing.assert_allclose([float(one.scores[0]) for one in found], 1 / (1 + np.exp(-np.arange(1, 6))), rtol=1e-5)
    np.testing.assert_array_equal(found[0].boxes, [[4, 4, 20, 20]])


def test_a_float16_model_gets_float16(tmp_path):
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Concat", ["pooled", "pooled", "pooled"], ["grid"], axis=1),
    ]
    inputs, outputs = ("images", (1, 3, 32, 32), "float16"), ("grid", (1, 9, 4, 4), "float16")
    path = save(tmp_path / "m.onnx", nodes, [inputs], [outputs], metadata={"head": "grid"})
    detector = load_detector(path, threads=1)
    assert detector.preprocess(np.zeros((32, 32, 3), np.uint8)).blob.dtype == np.float16
    assert detector.run(np.zeros((1, 3, 32, 32), np.float16))[0].dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold must lie"),
        ({"iou_threshold": -1}, "iou_threshold must lie"),
        ({"max_detections": 0}, "max_detections"),
        ({"wanted": ["unicorn"]}, "does not know unicorn. It knows: car"),
        ({"input_hw": (50, 64)}, "multiples of 32"),
        ({"head": "nothing"}, "Choose one of"),
    ],
)
def test_bad_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        load_detector(small_network(tmp_path / "m.onnx"), **settings)


def test_a_fixed_size_cannot_be_changed_and_a_free_one_can(tmp_path, frame):
    with pytest.raises(ConfigError, match="takes 64x128 only"):
        load_detector(yolov8_saying(tmp_path / "a.onnx"), input_hw=(64, 64))
    assert load_detector(small_network(tmp_path / "b.onnx"), input_hw=(96, 160)).preprocess(frame).blob.shape[2:] == (
        96,
        160,
    )


def test_two_detectors_may_share_a_model_at_two_sizes(tmp_path, frame):
    model = load_model(small_network(tmp_path / "m.onnx"), threads=1)
    for size in ((64, 96), (96, 160)):
        Detector(model, GridHead(), input_hw=size).detect(frame)
    model.close()


def test_labels_of_another_number_are_refused(tmp_path, frame):
    path = small_network(tmp_path / "m.onnx", metadata={"head": "grid", "labels": "a,b", "input_hw": "64,96"})
    with pytest.raises(ConfigError, match="5 classes and the grid head has 2 labels"):
        load_detector(path).detect(frame)


def test_what_takes_no_image_is_no_detector(tmp_path):
    path = save(
        tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [("x", (1, 3549, 85))], [("y", (1, 3549, 85))]
    )
    with pytest.raises(ModelLoadError, match="wants one image input"):
        load_detector(path, "yolox")


def test_after_close_it_refuses(tmp_path, frame):
    detector = load_detector(small_network(tmp_path / "m.onnx"), threads=1)
    detector.close()
    with pytest.raises(PipelineStopped):
        detector.detect(frame)


@pytest.mark.parametrize(("model", "head"), [("yolox_nano", "yolox"), ("FastestDet", "fastestdet")])
def test_published_models_see_the_people_of_the_street(model, head):
    if REAL is None:
        pytest.skip("not run here: MLI_DATA names no folder with real models")
    capture = cv2.VideoCapture(str(Path(REAL) / "videos" / "vtest.avi"))
    _, frame = capture.read()
    capture.release()
    detector = load_detector(Path(REAL) / "models" / f"{model}.onnx", threads=1, score_threshold=0.6)
    found = detector.detect(frame)
    assert detector.head.name == head
    people = found[found.class_ids == 0]
    centres = (people.boxes[:, :2] + people.boxes[:, 2:]) / 2
    for place in ([515, 195], [268, 264], [662, 280]):  # where three people walk in the first frame
        assert np.abs(centres - place).max(axis=1).min() < 10
