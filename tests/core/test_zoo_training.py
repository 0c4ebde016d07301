from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from solutions.core.vision.scenes import CLASSES, COLOURS
from solutions.core.zoo.export import export_classifier, export_detector, load_weights, save_weights
from solutions.core.zoo.grid import decode_grid
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet, StreetNetSize, fold_batchnorm
from solutions.core.zoo.training.augment import WHOLE, WINDOWS, crop_images, detection_batch
from solutions.core.zoo.training.dataset import StreetData, street_data
from solutions.core.zoo.training.loop import Schedule, train
from solutions.core.zoo.training.losses import Targets, assign, boxes_from, cell_centres, detection_loss, pairwise_giou

TINY = StreetNetSize((4, 4, 8, 8, 8), (0, 0, 0))


def encode(boxes, class_ids, *, cells_hw, classes=5, stride=8):
    """A grid on which a perfect network says exactly these boxes, one cell each."""
    grid = np.full((classes + 4, *cells_hw), -20.0, np.float32)
    for (x1, y1, x2, y2), class_id in zip(boxes, class_ids, strict=True):
        column, row = int((x1 + x2) / 2 // stride), int((y1 + y2) / 2 // stride)
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        grid[class_id, row, column] = 4.0
        grid[classes:, row, column] = np.log(np.array([x - x1, y - y1, x2 - x, y2 - y]) / stride)
    return grid


def test_decode_returns_what_was_encoded():
    boxes = np.array([[10, 20, 50, 90], [100, 40, 131, 60], [0, 0, 320, 192]], np.float32)
    found = decode_grid(encode(boxes, [4, 0, 2], cells_hw=(24, 40)), classes=5, score_threshold=0.5)
    order = np.lexsort(found.boxes.T[::-1])
    np.testing.assert_allclose(found.boxes[order], boxes[np.lexsort(boxes.T[::-1])], atol=1e-3)
    assert sorted(found.class_ids.tolist()) == [0, 2, 4]
    assert found.boxes.dtype == np.float32
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize(
    ("logit", "threshold", "want"),
    [
        pytest.param(0.0, 0.5, 1, id="exactly-at-the-threshold"),
        pytest.param(-0.01, 0.5, 0, id="just-below"),
        pytest.param(-2.1, 0.1, 1, id="low-threshold"),
    ],
)
def test_decode_threshold(logit, threshold, want):
    grid = np.full((9, 2, 3), -20.0, np.float32)
    grid[1, 1, 2] = logit
    assert len(decode_grid(grid, classes=5, score_threshold=threshold)) == want


def test_decode_survives_wild_numbers():
    grid = np.full((9, 1, 1), 500.0, np.float32)
    assert np.isfinite(decode_grid(grid, classes=5, score_threshold=0.5).boxes).all()


@pytest.mark.parametrize("tier", SIZES)
def test_network_shapes(tier):
    net = StreetNet(SIZES[tier]).eval()
    assert net(torch.zeros(2, 3, 64, 96)).shape == (2, 9, 8, 12)


def test_folding_batchnorm_changes_nothing():
    torch.manual_seed(0)
    net = StreetNet(TINY)
    net.train()(torch.rand(8, 3, 64, 64) * 255)  # gives BatchNorm statistics that are not the identity
    net.eval()
    images = torch.rand(2, 3, 64, 64) * 255
    before = net(images)
    after = fold_batchnorm(net)(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    # eps x depth x the largest value, as derived for a chain of 7 convolutions in float32
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_export_equals_torch_at_any_batch_and_size(tmp_path):
    torch.manual_seed(0)
    net = StreetNet(TINY)
    save_weights(net, tmp_path / "net.pt")
    kept = load_weights(StreetNet(TINY), tmp_path / "net.pt")
    export_detector(kept, tmp_path / "net.onnx", labels=CLASSES, input_hw=(64, 96))
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for shape in ((1, 3, 64, 96), (3, 3, 96, 64), (2, 3, 192, 320)):
        images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        with torch.inference_mode():
            want = kept(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images})[0], want, atol=1e-3, rtol=1e-4)
    assert session.get_modelmeta().custom_metadata_map == {
        "head": "grid",
        "labels": ",".join(CLASSES),
        "input_hw": "64,96",
    }


@pytest.mark.filterwarnings("ignore")
def test_classifier_export(tmp_path):
    torch.manual_seed(0)
    net = CropNet(width=4).eval()
    export_classifier(net, tmp_path / "crop.onnx", labels=CLASSES, colours=COLOURS, input_hw=(48, 48))
    session = onnxruntime.InferenceSession(tmp_path / "crop.onnx")
    crops = np.random.default_rng(0).uniform(0, 255, (5, 3, 48, 48)).astype(np.float32)
    with torch.inference_mode():
        want = [part.numpy() for part in net(torch.from_numpy(crops))]
    for got, expected in zip(session.run(["classes", "colours"], {"crops": crops}), want, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-3, rtol=1e-4)


def targets(boxes, class_ids=None, ignore=None):
    count = len(boxes)
    skip = torch.tensor([ignore or [False] * count])
    return Targets(
        torch.tensor([boxes], dtype=torch.float32),
        torch.tensor([class_ids or [0] * count]),
        ~skip,
        skip,
    )


def test_giou_of_known_boxes():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[1.0, 0, 3, 2], [3, 0, 4, 1]])
    iou, giou = pairwise_giou(a, b)
    torch.testing.assert_close(iou, torch.tensor([1 / 3, 0.0]))
    torch.testing.assert_close(giou, torch.tensor([1 / 3, -0.5]))  # apart: hull 4, union 2


def test_assignment_gives_cells_inside_the_box_and_nowhere_else():
    centres = cell_centres(4, 6)
    boxes = boxes_from(torch.zeros(1, 24, 4), centres)
    row, quality, left_out = assign(torch.full((1, 24, 2), 0.5), boxes, centres, targets([[8, 8, 32, 24]]))
    chosen = quality[0] > 0
    inside = ((centres > torch.tensor([8, 8])) & (centres < torch.tensor([32, 24]))).all(-1)
    assert chosen.any()
    assert not (chosen & ~inside).any()
    assert not left_out.any()
    assert (row[0][chosen] == 0).all()


def test_a_box_smaller_than_a_cell_still_gets_one():
    centres = cell_centres(4, 6)
    boxes = boxes_from(torch.zeros(1, 24, 4), centres)
    _, quality, _ = assign(torch.full((1, 24, 2), 0.5), boxes, centres, targets([[17, 17, 19, 19]]))
    assert (quality > 0).sum() == 1


def test_an_ignored_box_asks_for_nothing_and_forbids_nothing():
    centres = cell_centres(4, 6)
    boxes = boxes_from(torch.zeros(1, 24, 4), centres)
    _, quality, left_out = assign(torch.full((1, 24, 2), 0.5), boxes, centres, targets([[8, 8, 32, 24]], ignore=[True]))
    assert not quality.any()
    assert left_out.sum() == 6  # 3 x 2 cell centres lie in it


def test_loss_is_small_for_the_truth_and_large_for_anything_else():
    boxes = [[8.0, 8, 40, 40], [60, 10, 90, 50]]
    right = torch.from_numpy(encode(boxes, [1, 3], cells_hw=(8, 12)))[None]
    moved = torch.from_numpy(encode([[8.0, 8, 40, 60], [60, 10, 80, 50]], [1, 3], cells_hw=(8, 12)))[None]
    named = torch.from_numpy(encode(boxes, [0, 3], cells_hw=(8, 12)))[None]
    truth = targets(boxes, [1, 3])
    losses = [float(detection_loss(grid, truth, classes=5)) for grid in (right, moved, named)]
    assert losses[0] < losses[1]
    assert losses[0] < losses[2]


def test_loss_without_any_truth_is_finite():
    empty = targets([[0.0, 0, 0, 0]], ignore=None)
    empty = Targets(empty.boxes, empty.class_ids, torch.zeros(1, 1, dtype=torch.bool), empty.ignore)
    grid = torch.randn(1, 9, 4, 6, requires_grad=True)
    loss = detection_loss(grid, empty, classes=5)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(grid.grad).all()


def make_data(count=6):
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (count, 192, 320, 3)).astype(np.uint8)
    boxes = np.array([[40, 40, 120, 100], [200, 50, 260, 180]] * count, np.float32)
    return StreetData(
        images,
        np.arange(0, 2 * count + 1, 2),
        boxes,
        np.tile([0, 4], count),
        np.zeros(2 * count, bool),
        random.integers(0, 255, (count, 3, 48, 48)).astype(np.uint8),
        np.zeros((count, 2), np.int64),
    )


@pytest.mark.parametrize("view", [WHOLE, WINDOWS], ids=["whole", "windows"])
def test_augmented_boxes_follow_their_pictures(view):
    data = make_data()
    data.images[:] = 0
    for row in range(len(data)):
        data.images[row, 40:100, 40:120] = 255
    images, truth = detection_batch(data, np.arange(6), view, np.random.default_rng(3))
    for n in range(6):
        lit = np.argwhere(images[n, 0].numpy() > 175)  # brighter than any padding, however lit
        own = truth.boxes[n][(truth.class_ids[n] == 0) & (truth.real[n] | truth.ignore[n])]
        if len(lit) and len(own):
            (y1, x1), (y2, x2) = lit.min(0), lit.max(0) + 1
            np.testing.assert_allclose(own[0].numpy(), [x1, y1, x2, y2], atol=1.01)


def test_same_step_same_batch():
    data = make_data()
    first, again = (detection_batch(data, np.arange(4), WINDOWS, np.random.default_rng((0, 5))) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].boxes, again[1].boxes)


def test_crops_without_chance_are_untouched():
    crops = make_data().crops
    np.testing.assert_array_equal(crop_images(crops, None).numpy(), crops.astype(np.float32))


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path):
    def batch(step):
        return torch.from_numpy(np.random.default_rng(step).normal(size=(8, 3, 8, 8)).astype(np.float32))

    def loss(model, images):
        return (model(images).mean((1, 2, 3)) - images.mean((1, 2, 3))).square().mean()

    def fresh():
        torch.manual_seed(0)
        return torch.nn.Conv2d(3, 1, 3)

    class Stopped(Exception):
        pass

    def stop_at_six(step, value):
        if step == 6:
            raise Stopped

    schedule = Schedule(10, warmup=2, checkpoint_every=3)
    whole = train(fresh(), batch, loss, schedule, tmp_path / "a", progress=lambda step, value: None)
    with pytest.raises(Stopped):
        train(fresh(), batch, loss, schedule, tmp_path / "b", progress=stop_at_six)
    torch.manual_seed(99)
    resumed = train(fresh(), batch, loss, schedule, tmp_path / "b", progress=lambda step, value: None)
    for want, got in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(want, got)


def test_street_data_is_rendered_once(tmp_path):
    steps = []
    first = street_data(5, 3, (96, 160), tmp_path, progress=steps.append)
    assert steps == [1, 2, 3]
    again = street_data(5, 3, (96, 160), tmp_path, progress=steps.append)
    assert steps == [1, 2, 3]
    assert len(first) == 3
    assert first.images.shape == (3, 96, 160, 3)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert first.starts[-1] == len(first.boxes) == len(first.class_ids) == len(first.ignore)
    assert set(np.unique(first.crop_labels[:, 0])) <= set(range(len(CLASSES)))
