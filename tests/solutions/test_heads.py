"""Heads: a box written down the way a model writes it comes back; models are recognised by what they say and show."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.core.vision.detection import nms
from solutions.phase4_production.video_analysis.heads import (
    HEADS,
    FastestDetHead,
    GridHead,
    SsdHead,
    Yolov5Head,
    Yolov8Head,
    YoloxDecodedHead,
    YoloxHead,
    make_head,
    recognise_head,
)
from solutions.phase4_production.video_analysis.heads.labels import COCO_80, COCO_91
from solutions.phase4_production.video_analysis.heads.ssd import SSDLITE320, ssd_anchors
from solutions.phase4_production.video_analysis.heads.yolo import anchor_points, grid_points

CANVAS = (96, 128)
CELLS = 16 * 12 + 8 * 6 + 4 * 3


def centre_size(box):
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def write_grid(box, class_id, score):
    out = np.full((9, 12, 16), -9.0, np.float32)
    x, y, _, _ = centre_size(box)
    column, row = int(x // 8), int(y // 8)
    out[class_id, row, column] = np.log(score / (1 - score))
    centre = np.array([column * 8 + 4, row * 8 + 4] * 2)
    out[5:, row, column] = np.log(np.abs(np.array(box) - centre) / 8)
    return [out]


def write_yolox(box, class_id, score):
    out = np.zeros((CELLS, 85), np.float32)
    row = 16 * 12 + 5  # stride 16
    cells, strides = grid_points(CANVAS)
    x, y, w, h = centre_size(box)
    out[row, :2] = np.array([x, y]) / strides[row] - cells[row]
    out[row, 2:4] = np.log(np.array([w, h]) / strides[row])
    out[row, 4], out[row, 5 + class_id] = score / 0.95, 0.95
    return [out]


def write_table(rows):
    def write(box, class_id, score):
        out = np.zeros((rows, 85), np.float32)
        out[17, :4] = centre_size(box)
        out[17, 4], out[17, 5 + class_id] = 0.98, score / 0.98
        return [out]

    return write


def write_yolov8(box, class_id, score):
    out = np.zeros((84, CELLS), np.float32)
    out[:4, 9] = centre_size(box)
    out[4 + class_id, 9] = score
    return [out]


def write_fastestdet(box, class_id, score):
    out = np.zeros((85, 6, 8), np.float32)
    x, y, w, h = centre_size(box)
    column, row = int(x // 16), int(y // 16)
    probability = 0.9
    out[0, row, column] = (score / probability**0.4) ** (1 / 0.6)
    out[1:3, row, column] = np.arctanh([x / 16 - column, y / 16 - row])
    share = np.array([w / 128, h / 96])
    out[3:5, row, column] = np.log(share / (1 - share))
    out[5 + class_id, row, column] = probability
    return [out]


def write_ssd(box, class_id, score):
    anchors = ssd_anchors(SSDLITE320)
    codes, logits = np.zeros((len(anchors), 4), np.float32), np.zeros((len(anchors), 91), np.float32)
    logits[:, 0] = 20
    row = 777
    ax, ay, aw, ah = anchors[row]
    x, y, w, h = centre_size(box) / [128, 96, 128, 96]
    codes[row] = [(x - ax) / aw * 10, (y - ay) / ah * 10, np.log(w / aw) * 5, np.log(h / ah) * 5]
    logits[row] = np.log((1 - score) / 90)
    logits[row, class_id] = np.log(score)
    return [codes, logits]


WRITERS = {
    "grid": (GridHead(), write_grid),
    "yolox": (YoloxHead(), write_yolox),
    "yolox-decoded": (YoloxDecodedHead(), write_table(CELLS)),
    "yolov5": (Yolov5Head(), write_table(3 * CELLS)),
    "yolov8": (Yolov8Head(), write_yolov8),
    "ssd": (SsdHead(), write_ssd),
    "fastestdet": (FastestDetHead(), write_fastestdet),
}


def test_every_head_is_tried_here():
    assert set(WRITERS) == set(HEADS)


@pytest.mark.parametrize("name", WRITERS)
@settings(deadline=None, max_examples=25)
@given(
    st.floats(0, 70), st.floats(0, 50), st.floats(12, 50), st.floats(12, 40), st.integers(1, 4), st.floats(0.42, 0.93)
)
def test_a_box_comes_back(name, x, y, w, h, class_id, score):
    head, write = WRITERS[name]
    box = (x + 1, y + 1, x + 1 + w, y + 1 + h)
    found = head.decode(write(box, class_id, score), canvas_hw=CANVAS, score_threshold=0.3)
    assert found.class_ids.tolist() == [class_id]
    assert (found.boxes.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int64)
    np.testing.assert_allclose(found.scores, [score], rtol=1e-4)
    np.testing.assert_allclose(found.boxes, [box], atol=0.02)


@pytest.mark.parametrize("name", WRITERS)
def test_below_the_threshold_nothing_comes_back(name):
    head, write = WRITERS[name]
    outputs = write((20, 20, 60, 60), 2, 0.5)
    assert len(head.decode(outputs, canvas_hw=CANVAS, score_threshold=0.51)) == 0
    assert len(head.decode(outputs, canvas_hw=CANVAS, score_threshold=0.49)) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_an_output_of_another_shape_is_refused(name):
    head, _ = WRITERS[name]
    for outputs in ([np.zeros(4, np.float32)], [np.zeros((7, 77), np.float32)], [np.zeros((12, 2, 2), np.float32)]):
        with pytest.raises(ConfigError, match="head"):
            head.decode(outputs, canvas_hw=CANVAS, score_threshold=0.3)


def test_ssd_is_torchvisions():
    torch.manual_seed(0)
    codes, logits = torch.randn(1, 3234, 4), torch.randn(1, 3234, 91) * 2
    generator = DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
    image = ImageList(torch.zeros(1, 3, 320, 320), [(320, 320)])
    anchors = generator(image, [torch.zeros(1, 1, *size) for size in SSDLITE320.feature_hw])
    config = SimpleNamespace(  # what ssdlite320_mobilenet_v3_large sets, but for the score threshold
        score_thresh=0.02, nms_thresh=0.55, topk_candidates=300, detections_per_img=300,
        box_coder=BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)),
    )  # fmt: skip
    outputs = {"bbox_regression": codes, "cls_logits": logits}
    want = SSD.postprocess_detections(config, outputs, anchors, [(320, 320)])[0]
    head = SsdHead()
    seen = head.decode([codes[0].numpy(), logits[0].numpy()], canvas_hw=(320, 320), score_threshold=0.02)
    got = nms(seen, iou_threshold=head.iou_threshold)[: len(want["scores"])]
    np.testing.assert_allclose(got.scores, want["scores"], rtol=1e-5)
    np.testing.assert_array_equal(got.class_ids, want["labels"])
    np.testing.assert_allclose(got.boxes, want["boxes"], atol=0.01)


def test_labels():
    assert (len(COCO_80), len(COCO_91), len(set(COCO_80))) == (80, 91, 80)
    assert list(COCO_91) == SSDLite320_MobileNet_V3_Large_Weights.DEFAULT.meta["categories"]


def specs(*shapes):
    return tuple(TensorSpec(f"t{i}", shape) for i, shape in enumerate(shapes))


@pytest.mark.parametrize(
    ("canvas", "outputs", "operators", "want"),
    [
        pytest.param((416, 416), [(1, 3549, 85)], (), "yolox", id="yolox"),
        pytest.param((416, 416), [(1, 3549, 85)], ("Conv", "Exp"), "yolox-decoded", id="yolox-decoded"),
        pytest.param((640, 640), [(1, 25200, 85)], (), "yolov5", id="yolov5"),
        pytest.param((640, 640), [(1, 84, 8400)], (), "yolov8", id="yolov8"),
        pytest.param((320, 640), [(None, 5, 4200)], (), "yolov8", id="yolov8-one-class"),
        pytest.param((320, 320), [(None, 3234, 4), (None, 3234, 91)], (), "ssd", id="ssd"),
        pytest.param((320, 320), [(None, 3234, 91), (None, 3234, 4)], (), "ssd", id="ssd-other-order"),
        pytest.param((352, 352), [(1, 85, 22, 22)], (), "fastestdet", id="fastestdet"),
        pytest.param((192, 320), [(None, 9, 24, 40)], (), "grid", id="grid-without-metadata"),
    ],
)
def test_shapes_tell_the_head(canvas, outputs, operators, want):
    inputs = specs((1, 3, *canvas))
    assert recognise_head(inputs, specs(*outputs), operators=operators) == want
    assert anchor_points((640, 640)) == 8400


def test_metadata_comes_first():
    assert recognise_head(specs((1, 3, 416, 416)), specs((1, 3549, 85)), {"head": "grid"}) == "grid"


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        pytest.param([(1, 3, 640, 640)], [(1, 300, 6)], "fits no head", id="end-to-end-export"),
        pytest.param([(1, 3, 224, 224)], [(1, 1000)], "fits no head", id="classifier"),
        pytest.param([(None, 3, None, None)], [(None, None, None)], "more than one", id="all-free"),
        pytest.param([(None, 3, None, None)], [(None, 9, None, None)], "more than one", id="free-grid"),
    ],
)
def test_what_is_unclear_names_the_choices(inputs, outputs, message):
    with pytest.raises(ModelLoadError, match=rf"{message}.*--head: grid, yolox"):
        recognise_head(specs(*inputs), specs(*outputs))


def model_with(metadata, canvas=(640, 640), output=(1, 84, 8400)):
    return SimpleNamespace(name="m", inputs=specs((1, 3, *canvas)), outputs=specs(output), metadata=metadata)


def test_the_file_tells_labels_size_and_pixels():
    head = make_head(model_with({"names": "{0: 'cat', 1: 'dog'}"}, output=(1, 6, 8400)))
    assert (head.name, head.labels) == ("yolov8", ("cat", "dog"))
    ours = make_head(model_with({"head": "grid", "labels": "a,b", "input_hw": "64,96"}))
    assert (ours.labels, ours.input_hw) == (("a", "b"), (64, 96))
    assert make_head(model_with({}), "yolov5", labels=["x"]).labels == ("x",)


@pytest.mark.parametrize(
    "metadata", [{"input_hw": "big"}, {"names": "__import__('os').getcwd()"}, {"pixels": "{}"}, {"names": "{"}]
)
def test_malformed_metadata_is_one_sentence(metadata):
    with pytest.raises(ConfigError, match="metadata of m is malformed"):
        make_head(model_with(metadata))


def test_an_unknown_head_names_the_choices():
    with pytest.raises(ConfigError, match=r"no head yolo99\. Choose one of: grid"):
        make_head(model_with({}), "yolo99")
