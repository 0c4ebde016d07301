"""The whole way from files to names: order, batches, timing by an injected clock, unreadable files, a real photo."""

import itertools
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper

from solutions.core.errors import ConfigError, ImageError
from solutions.core.scripts import run
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics import model_loader
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.prediction.classifier import Classifier, StageSeconds
from solutions.phase1_basics.prediction.labels import read_labels
from solutions.phase1_basics.prediction.postprocessing import Postprocessing, Prediction
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS, Preprocessing
from solutions.phase1_basics.prediction.resizing import Resize
from solutions.phase1_basics.runtimes import runtimes
from tests.solutions.onnx_builders import save
from tests.solutions.stub_models import StubModel

LEVELS = 16  # classes of the stub: how bright a picture is
NAMES = ",".join(f"level {level}" for level in range(LEVELS))
FACTS = {
    "labels": NAMES,
    "activation": "none",
    "pixels": json.dumps({"rgb": True, "scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}),
    "resize": '{"rule": "stretch"}',
}


def brightness_model(batch=None, activation="none"):
    """Scores 1 for the class of the picture's mean brightness, 0 for the others."""

    def answer(feeds):
        level = (feeds["images"].mean(axis=(1, 2, 3)) / 256 * LEVELS).astype(int)
        return {"scores": np.eye(LEVELS, dtype=np.float32)[level]}

    return StubModel(
        [("images", (batch, 3, 8, 8))], [("scores", (batch, LEVELS))], answer, {**FACTS, "activation": activation}
    )


def grey(level):
    return np.full((20, 30 + level, 3), level * 256 // LEVELS + 5, np.uint8)


@pytest.mark.parametrize(("batch", "max_batch"), [(None, 4), (None, 99), (1, 4), (3, 4)])
def test_answers_come_in_the_order_of_the_pictures(tmp_path, batch, max_batch):
    levels = [3, 0, 15, 7, 7, 1, 12]
    pictures = []
    for index, level in enumerate(levels):
        path = tmp_path / f"{index}.png"
        cv2.imwrite(str(path), grey(level))
        pictures.append((path, str(path), grey(level))[index % 3])
    model = brightness_model(batch)
    answers = Classifier(model, top=2, max_batch=max_batch).predict(pictures)
    assert [best[0] for best in answers] == [Prediction(level, f"level {level}", 1.0) for level in levels]
    assert all(len(best) == 2 for best in answers)
    size = batch or max_batch
    assert model.batches == [batch] * -(-7 // size) if batch else sum(model.batches) == 7


def test_batches_are_lazy():
    model = brightness_model()
    endless = (grey(index % LEVELS) for index in itertools.count())
    batches = Classifier(model, top=1, max_batch=4).predict_batches(endless)
    first, second = next(batches), next(batches)
    assert [best[0].class_id for best in first.predictions + second.predictions] == list(range(8))
    assert (first.calls, model.batches) == (1, [4, 4])


def test_no_pictures():
    assert Classifier(brightness_model()).predict([]) == []


def test_seconds_are_the_clocks():
    ticks = iter([0.0, 1.0, 3.0, 7.0, 15.0])
    (batch,) = Classifier(brightness_model(), clock=lambda: next(ticks)).predict_batches([grey(1)])
    assert batch.seconds == StageSeconds(load_s=1, preprocess_s=2, infer_s=4, postprocess_s=8)
    assert batch.seconds.total_s == 15
    assert batch.seconds + batch.seconds == StageSeconds(2, 4, 8, 16)


def test_a_broken_file_stops_or_is_reported(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")
    pictures = [grey(2), broken, grey(5)]
    model = brightness_model()
    with pytest.raises(ImageError, match=r"broken\.png"):
        Classifier(model).predict(pictures)
    reported = []
    (batch,) = Classifier(model, top=1).predict_batches(
        pictures, on_unreadable=lambda picture, error: reported.append((picture, str(error)))
    )
    assert [[p.class_id for p in best] for best in batch.predictions] == [[2], [], [5]]
    assert [picture for picture, _ in reported] == [broken]
    (only,) = Classifier(model).predict_batches([broken], on_unreadable=lambda *_: None)
    assert (only.predictions, only.calls, only.seconds.infer_s) == ([[]], 0, 0)


def test_what_is_no_classifier():
    two = StubModel([("a", (1, 3, 8, 8)), ("b", (1, 2))], [("y", (1, 5))])
    with pytest.raises(ConfigError, match="a, b, not only pictures"):
        Classifier(two)
    with pytest.raises(ConfigError, match="top must be"):
        Classifier(brightness_model(), top=0)
    detector = StubModel(
        [("images", (1, 3, 8, 8))], [("boxes", (1, 20, 85))], lambda feeds: {"boxes": np.zeros((1, 20, 85))}
    )
    with pytest.raises(ConfigError, match="is this a detector"):
        Classifier(detector).predict([grey(1)])
    with pytest.raises(ConfigError, match="uint8"):
        Classifier(brightness_model()).predict([grey(1).astype(np.float32)])


def brightness_file(path, batch=None, facts=FACTS):
    """An ONNX classifier of two classes, dark and bright: logits 0 and mean - 128."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["logits"]),
    ]
    arrays = [
        ("one", np.array([1])),
        ("slope", np.array([[0, 1]], np.float32)),
        ("offset", np.array([[0, -128]], np.float32)),
    ]
    told = {**facts, "labels": "dark,bright", "activation": "softmax"} if facts else None
    return save(path, nodes, [("images", (batch, 3, 8, 8))], [("logits", (batch, 2))], arrays, told)


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_command_line(tmp_path, capsys, batch):
    model = brightness_file(tmp_path / "m.onnx", batch)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, level in (("b", 14), ("a", 1), ("c", 15)):
        cv2.imwrite(str(folder / f"{name}.png"), grey(level))
    single = tmp_path / "single.png"
    cv2.imwrite(str(single), grey(2))
    arguments = ["--model", str(model), "--image", str(folder), str(single), "--top", "1", "--batch", "3"]
    assert run(model_loader.main, [*arguments, "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr()
    assert [line.split()[-1] for line in printed.out.splitlines()[1:8:2]] == ["dark", "bright", "bright", "dark"]
    assert [Path(line).name for line in printed.out.splitlines()[0:8:2]] == ["a.png", "b.png", "c.png", "single.png"]
    assert printed.err == ""
    written = json.loads((tmp_path / "out.json").read_text())
    assert [image["predictions"][0]["label"] for image in written["images"]] == ["dark", "bright", "bright", "dark"]
    assert written["calls"] == {None: 2, 1: 4, 2: 2}[batch]
    assert set(written["seconds"]) == {"load", "preprocess", "infer", "postprocess"}


def test_command_line_with_labels_and_assumptions(tmp_path, capsys):
    model = brightness_file(tmp_path / "m.onnx", facts=None)
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), grey(15))
    labels = tmp_path / "labels.txt"
    labels.write_text("n00000001 dunkel\nn00000002 hell\n")
    arguments = ["--model", str(model), "--image", str(picture), "--labels", str(labels)]
    assert run(model_loader.main, [*arguments, "--pixels", "raw"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split() == ["1.0000", "hell"]
    assert printed.err.startswith("assumed, as m does not tell: shorter side")
    assert run(model_loader.main, [*arguments, "--pixels", "raw", "--activation", "none"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["117.0000", "hell"]  # 245 - 128
    labels.write_text("hell\n")
    assert run(model_loader.main, arguments) == 2
    assert "knows 2 classes and there are 1 labels" in capsys.readouterr().err


def test_command_line_answers_the_rest_when_one_picture_is_broken(tmp_path, capsys):
    model = brightness_file(tmp_path / "m.onnx")
    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    cv2.imwrite(str(good), grey(15))
    broken.write_bytes(good.read_bytes()[:60])
    assert run(model_loader.main, ["--model", str(model), "--image", str(broken), str(good)]) == 2
    printed = capsys.readouterr()
    assert "bright" in printed.out
    assert (printed.err.count("\n"), "cut off" in printed.err) == (1, True)
    assert run(model_loader.main, ["--model", str(model), "--image", str(broken)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_embedded_classifier_names_a_crop():
    model = load_model(embedded("street-classifier").onnx, device="cpu", threads=1)
    (best,) = Classifier(model, top=5).predict([grey(7)])
    assert {prediction.label for prediction in best} == {"car", "truck", "bus", "bicycle", "pedestrian"}
    assert sum(prediction.score for prediction in best) == pytest.approx(1, abs=1e-5)
    model.close()


@pytest.mark.parametrize("pixels", [None, "signed"])
def test_a_real_quantized_model_sees_what_is_on_a_real_photo(pixels):
    folder = os.environ.get("MLI_DATA")
    if folder is None:
        pytest.skip("not run here: MLI_DATA names no folder with real models")
    if "tflite" not in runtimes() or not runtimes()["tflite"].is_available:
        pytest.skip("not run here: LiteRT is not installed")
    models = Path(folder) / "models"
    model = load_model(models / "mobilenet_v1_0.25_128_quant.tflite", device="cpu", threads=1)
    classifier = Classifier(
        model,
        preprocessing=Preprocessing.of(model, pixels=PIXEL_FORMATS[pixels] if pixels else None, resize=Resize()),
        postprocessing=Postprocessing.of(model, labels=read_labels(models / "imagenet_labels.txt")),
        top=5,
    )
    shown = {"000000000285": "brown bear", "000000000785": "ski", "000000002149": "Granny Smith"}
    answers = classifier.predict(Path(folder) / "images" / "coco_val" / f"{name}.jpg" for name in shown)
    for best, name in zip(answers, shown.values(), strict=True):
        assert best[0].label.startswith(name)
        assert 0.5 < best[0].score <= 1
    model.close()
