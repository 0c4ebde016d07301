"""Distillation losses, scaled architectures, and the short trainings that put them to use."""

import math

import numpy as np
import pytest
import torch

from benchmarks.compression_page import sections, verdicts
from solutions.core.errors import ConfigError
from solutions.core.measure.report_html import render_html
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet, StreetNetSize
from solutions.core.zoo.training.dataset import StreetData
from solutions.phase2_optimization.compression.distillation import Distillation, grid_loss, mix, soft_target_loss
from solutions.phase2_optimization.compression.magnitude import attach_masks, bake_masks, magnitude_masks, weights_of
from solutions.phase2_optimization.compression.scaling import CropScale, scale_street
from solutions.phase2_optimization.compression.training import crop_task, street_task, train_briefly


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- distillation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_targets_are_the_divergence_of_softened_classes(temperature):
    student, teacher = logits(5, 4), logits(5, 4, seed=1)
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    want = temperature**2 * (p * (p.log() - q.log())).sum(1).mean()
    assert soft_target_loss(student, teacher, temperature).item() == pytest.approx(want.item(), rel=1e-9)


def test_soft_targets_agree_where_logits_differ_by_a_constant():
    assert soft_target_loss(logits(5, 4) + 3, logits(5, 4), 2.0).item() == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_soft_targets_keeps_its_size():
    """Section 2.1 of the paper: for a high temperature the gradient is that of half the squared distance of logits."""
    teacher = logits(6, 4, seed=1)
    teacher -= teacher.mean(1, keepdim=True)
    student = (logits(6, 4) - logits(6, 4).mean(1, keepdim=True)).requires_grad_()
    soft_target_loss(student, teacher, 1000.0).backward()
    matched = (student - teacher).detach() / 4 / 6  # / classes, and / batch for the mean
    torch.testing.assert_close(student.grad, matched, rtol=0, atol=2e-2 * matched.abs().max().item())


def test_grid_loss_is_zero_for_the_teacher_itself_and_grows_with_distance():
    teacher = logits(2, 9, 4, 6)
    assert grid_loss(teacher, teacher, classes=5).item() == pytest.approx(0, abs=1e-6)
    near, far = (grid_loss(teacher + shift, teacher, classes=5).item() for shift in (0.1, 1.0))
    assert 0 < near < far


def test_boxes_count_only_where_the_teacher_sees_something():
    teacher = torch.cat((torch.full((1, 5, 2, 2), -20.0), torch.zeros(1, 4, 2, 2)), 1)
    student = teacher.clone()
    student[:, 5:] = 3.0
    assert grid_loss(student, teacher, classes=5).item() == pytest.approx(0, abs=1e-6)
    teacher[0, 2, 1, 1] = student[0, 2, 1, 1] = 20.0
    assert grid_loss(student, teacher, classes=5).item() == pytest.approx(4 * (3.0 - 0.05), rel=1e-4)  # 4 edges


def test_no_gradient_reaches_the_teacher():
    student, teacher = logits(1, 9, 2, 2).requires_grad_(), logits(1, 9, 2, 2, seed=1).requires_grad_()
    (grid_loss(student, teacher, classes=5) + soft_target_loss(student[:, :, 0, 0], teacher[:, :, 0, 0], 2)).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_mix():
    assert mix(torch.tensor(1.0), torch.tensor(5.0), Distillation(weight=0.25)).item() == 2.0


@pytest.mark.parametrize("values", [{"temperature": 0.0}, {"weight": 1.5}, {"weight": -0.1}])
def test_distillation_settings_out_of_range(values):
    with pytest.raises(ConfigError, match="got"):
        Distillation(**values)


# -- scaling -------------------------------------------------------------------------------------------------------


def test_the_unscaled_crop_network_is_the_zoos():
    ours, zoos = CropScale().build(), CropNet()
    assert {name: t.shape for name, t in ours.state_dict().items()} == {
        name: t.shape for name, t in zoos.state_dict().items()
    }
    ours.load_state_dict(zoos.state_dict())
    crops = torch.rand(2, 3, 48, 48) * 255
    for want, got in zip(zoos.eval()(crops), ours.eval()(crops), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("scale", "blocks"),
    [
        pytest.param(CropScale(width=8), 2, id="narrow"),
        pytest.param(CropScale(depth=0), 0, id="shallow"),
        pytest.param(CropScale(depth=3), 6, id="deep"),
        pytest.param(CropScale(side=16), 2, id="coarse"),
    ],
)
def test_scaled_crop_networks_answer(scale, blocks):
    net = scale.build().eval()
    classes, colours = net(scale.shrink(torch.rand(2, 3, 48, 48) * 255))
    assert (classes.shape, colours.shape) == ((2, 5), (2, 7))
    assert net.classes.in_features == 6 * scale.width
    assert len(net.features) == 3 + blocks


def test_shrinking_averages_areas():
    crops = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(1, 3, 4, 4)  # 16 x 16
    small = CropScale(side=8).shrink(crops)
    assert small[0, 0, :2, :2].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert CropScale(side=16).shrink(crops) is crops


@pytest.mark.parametrize(
    ("values", "want"),
    [
        pytest.param({}, StreetNetSize((16, 16, 32, 48, 32), (1, 1, 1)), id="as-it-is"),
        pytest.param({"width": 0.5}, StreetNetSize((8, 8, 16, 24, 16), (1, 1, 1)), id="half"),
        pytest.param({"width": 0.1}, StreetNetSize((8, 8, 8, 8, 8), (1, 1, 1)), id="at-least-one-block-of-channels"),
        pytest.param({"width": 0.75, "round_to": 4}, StreetNetSize((12, 12, 24, 36, 24), (1, 1, 1)), id="finer"),
        pytest.param({"depth": 2.0}, StreetNetSize((16, 16, 32, 48, 32), (2, 2, 2)), id="deeper"),
        pytest.param({"depth": 0.0}, StreetNetSize((16, 16, 32, 48, 32), (0, 0, 0)), id="no-residuals"),
    ],
)
def test_scaled_street_networks(values, want):
    size = scale_street(SIZES["small"], **values)
    assert size == want
    assert StreetNet(size).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 9, 4, 4)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: CropScale(width=0), id="no-width"),
        pytest.param(lambda: CropScale(depth=-1), id="no-depth"),
        pytest.param(lambda: CropScale(side=4), id="no-pixels"),
        pytest.param(lambda: scale_street(SIZES["small"], width=0), id="no-channels"),
    ],
)
def test_scales_out_of_range(make):
    with pytest.raises(ConfigError):
        make()


# -- training ------------------------------------------------------------------------------------------------------


def bright_and_dark(count=64):
    """Crops whose class is their brightness and whose colour is always the same; pictures with one box each."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 2
    crops = (rng.integers(0, 60, (count, 3, 48, 48)) + 180 * classes[:, None, None, None]).astype(np.uint8)
    return StreetData(
        images=rng.integers(0, 255, (2, 96, 128, 3), dtype=np.uint8),
        starts=np.arange(3),
        boxes=np.tile(np.float32([30, 30, 90, 80]), (2, 1)),
        class_ids=np.zeros(2, np.int64),
        ignore=np.zeros(2, bool),
        crops=crops,
        crop_labels=np.stack((classes, np.zeros(count, np.int64)), 1).astype(np.int64),
    )


@pytest.mark.parametrize("taught", [False, True])
def test_a_small_student_learns_with_and_without_a_teacher(tmp_path, taught):
    torch.manual_seed(0)
    data, scale = bright_and_dark(), CropScale(width=4, side=24)
    teacher = CropNet(width=4).eval() if taught else None
    task = crop_task(data, batch=16, scale=scale, teacher=teacher, settings=Distillation(weight=0.2))
    losses = []
    student = train_briefly(
        scale.build(), task, 30, tmp_path / "c", peak_rate=5e-3, progress=lambda step, loss: losses.append(loss)
    )
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    found = student(scale.shrink(torch.from_numpy(data.crops).float()))[0].argmax(1).numpy()
    assert (found == data.crop_labels[:, 0]).mean() > 0.9


def test_equal_seeds_give_equal_batches_with_and_without_a_teacher():
    data = bright_and_dark()
    one, other = crop_task(data, seed=3, batch=8), crop_task(data, seed=3, batch=8, teacher=CropNet().eval())
    for a, b in zip(one.batch(7), other.batch(7), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.batch(7)[0], one.batch(8)[0])


def test_a_masked_detector_trains_on_its_teacher_and_keeps_its_zeros(tmp_path):
    torch.manual_seed(0)
    size = scale_street(SIZES["small"], width=0.5)
    net, teacher = StreetNet(size), StreetNet(size).eval()
    masks = magnitude_masks(weights_of(net), 0.5)
    task = street_task(bright_and_dark(), batch=1, teacher=teacher)
    trained = bake_masks(train_briefly(attach_masks(net, masks), task, 2, tmp_path / "c"))
    after = weights_of(trained)
    assert all(not after[name][~mask].any() for name, mask in masks.items())
    with torch.no_grad():
        assert math.isfinite(task.loss(trained, task.batch(0)).item())


# -- the report ----------------------------------------------------------------------------------------------------


def point(model, method, setting, accuracy, ratio, **facts):
    spread = {"ratio": ratio, "low": ratio - 0.05, "high": ratio + 0.05}
    sizes = {"weights": 1000, "zeros": 0.0, "flops": 2_000_000, "file_bytes": 5000, "zipped_bytes": 4000}
    return {
        "model": model, "method": method, "setting": setting, "accuracy": accuracy,
        "latency": {"ratio_b_over_a": spread}, **sizes, **facts,
    }  # fmt: skip


def test_the_report_says_what_the_points_say():
    rows = [
        point("net", "original", "as embedded", 0.90, 1.0),
        point("net", "magnitude", "50% lamp", 0.70, 1.00, zeros=0.5),
        point("net", "magnitude", "80% global", 0.60, 1.01, zeros=0.8),
        point("net", "2:4", "2 of 4", 0.50, 0.99),
        point("net", "channels", "50.0% of channels, trained on", 0.88, 0.40),
        point("net", "distillation", "truth, seed 0", 0.80, 0.5, taught="", seed=0),
        point("net", "distillation", "taught, seed 0", 0.82, 0.5, taught="big", seed=0),
        point("net", "distillation", "truth, seed 1", 0.81, 0.5, taught="", seed=1),
        point("net", "distillation", "taught, seed 1", 0.80, 0.5, taught="big", seed=1),
    ]
    zeros, channels, taught = verdicts(rows)
    assert "3 models with 50 to 95% zeros take 0.99 to 1.01 times the original's time (mean 1.000)" in zeros
    assert "0.40 of the time for -2.0 points" in channels
    assert "by +2.0, -1.0 points (mean +0.5)" in taught
    page = render_html("curves", sections(rows))
    assert page.count("<svg") == 1 + 2 + 1 + 1 + 1  # all, magnitude by zeros and by time, 2:4, channels, distillation
    assert "80% global" in page
