"""Training for int8: what post-training quantization loses comes back, and the same call gives the same model."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
import torch

from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_OK, run
from solutions.core.zoo.registry import embedded
from solutions.core.zoo.training.dataset import StreetData
from solutions.phase2_optimization.qat import embedded as embedded_qat
from solutions.phase2_optimization.qat.embedded import TrainedVariants, trained_int8
from solutions.phase2_optimization.qat.prepare import QatConfig, prepare_qat
from solutions.phase2_optimization.qat.training import QatSchedule, distillation, train_qat
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from solutions.phase2_optimization.quantizer import QuantizerConfig, main
from tests.solutions.qat_nets import ResidualNet, images, run_onnx, run_torch, seeded


def error(module, net, x) -> float:
    """Squared error over the variance of the float network's answers from picture to picture."""
    got, want = run_torch(module, x)[0], run_torch(net, x)[0]
    return float(((got - want) ** 2).mean() / want.var(axis=0).mean())


@pytest.mark.parametrize("ranges", ["learned", "observed"])
def test_training_wins_back_what_four_bit_weights_lost_and_repeats_itself(ranges):
    net = seeded(ResidualNet)
    config = QatConfig(StaticConfig(observer="minmax"), ranges=ranges, weight_bits=4)
    batches = [images(16, seed) for seed in range(4)]
    held_out = images(64, seed=99)
    schedule = QatSchedule(60, peak_rate=1e-3, warmup=5, average=0.9)
    prepared = prepare_qat(net, batches, config=config)
    before = error(prepared.module, net, held_out)
    start = {name: value.clone() for name, value in prepared.module.state_dict().items()}
    losses: list[float] = []

    def trained() -> torch.nn.Module:
        prepared.module.load_state_dict(start)
        make_batch = lambda step: images(16, 1000 + step)  # noqa: E731
        return train_qat(
            prepared, make_batch, distillation(net), schedule, progress=lambda _, loss: losses.append(loss)
        ).module

    module = trained()
    assert error(module, net, held_out) < 0.5 * before
    assert len(losses) == schedule.steps
    again = trained()
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


@pytest.fixture
def few_crops(tmp_path, monkeypatch):
    """Pictures that need no rendering, and a cache of this test's own."""
    random = np.random.default_rng(0)
    crops = random.integers(0, 256, (40, 3, 48, 48), dtype=np.uint8)
    none = np.zeros(0, np.int64)
    labels = np.stack([random.integers(0, 5, 40), random.integers(0, 7, 40)], 1)
    data = StreetData(none, none, none, none, none, crops, labels)
    monkeypatch.setattr(embedded_qat, "street_data", lambda *_, **__: data)
    monkeypatch.setenv("MLI_CACHE", str(tmp_path / "cache"))


def test_the_quantizer_trains_an_embedded_model_once_and_then_looks_it_up(few_crops, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        embedded_qat, "CLASSIFIER_RECIPE", embedded_qat.EmbeddedRecipe(batch=8, calibration=1, schedule=QatSchedule(2))
    )
    out = tmp_path / "qat.onnx"
    arguments = ["--model", "street-classifier", "--method", "qat", "--out", str(out)]
    assert run(main, arguments) == EXIT_OK
    assert f"{out}: qat" in capsys.readouterr().out
    kept = trained_int8("street-classifier")
    assert kept.read_bytes() == out.read_bytes()
    assert out.stat().st_size < 0.5 * embedded("street-classifier").onnx.stat().st_size
    # Two steps change little: the classes of the shipped model are found on nearly all crops.
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (32, 3, 48, 48)).astype(np.float32))
    answers = [run_onnx(onnx.load(path), x)[0].argmax(1) for path in (out, embedded("street-classifier").onnx)]
    assert (answers[0] == answers[1]).mean() > 0.9
    monkeypatch.setattr(embedded_qat, "train_qat", None)  # a second training would fail
    assert trained_int8("street-classifier") == kept


def test_what_is_not_embedded_is_told_the_way(tmp_path, capsys):
    other = shutil.copy(embedded("street-classifier").onnx, tmp_path / "street-classifier.onnx")
    arguments = ["--model", str(other), "--method", "qat", "--out", str(tmp_path / "q.onnx")]
    assert run(main, arguments) == EXIT_CANNOT_RUN
    said = capsys.readouterr().err
    assert "needs a torch module and data" in said
    assert "call prepare_qat, train_qat and export_qat" in said
    assert not (tmp_path / "q.onnx").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda: trained_int8("yolox-nano"), "not an embedded model", id="unknown-name"),
        pytest.param(lambda: trained_int8("street-small", steps=0), "steps must be >= 1", id="no-steps"),
        pytest.param(lambda: TrainedVariants("street-small.onnx"), "cannot be trained", id="a-file-of-that-name"),
        pytest.param(lambda: QuantizerConfig("qat", target="tensorrt"), "prepare_qat", id="another-target"),
        pytest.param(lambda: QuantizerConfig("qat", keep_float=("a",)), "prepare_qat", id="layers-in-float"),
    ],
)
def test_mistakes_are_told(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
