"""Inference of the architecture: every network from the names and shapes of its own weights, and nothing by mistake."""

import json

import pytest
import torch
import torchvision

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.vision.images import IMAGENET_RGB
from solutions.core.zoo import external
from solutions.core.zoo.external import CLASSIFIERS, DETECTORS
from solutions.core.zoo.registry import embedded, embedded_names
from solutions.phase1_basics.runtimes.torch_architectures import (
    architecture_names,
    infer_architecture,
    named_architecture,
    nearest_architecture,
)
from solutions.phase1_basics.runtimes.torch_meta import fill, module_shapes, on_meta
from tests.solutions.torch_builders import network


def shapes_of(name, **options):
    """Names and shapes of a torchvision network, without its weights."""
    if name in DETECTORS or name in torchvision.models.list_models(module=torchvision.models.segmentation):
        options["weights_backbone"] = None
    with on_meta():
        return module_shapes(torchvision.models.get_model(name, weights=None, **options))


@pytest.mark.parametrize("name", [name for name in architecture_names() if name not in embedded_names()])
def test_every_network_of_torchvision_is_recognised(name):
    shapes = shapes_of(name)
    found = infer_architecture(shapes)
    assert found is not None
    assert found.name == name
    assert module_shapes(found.module).keys() == shapes.keys()
    assert found.inputs[0].name == "images"
    assert found.inputs[0].shape[:2] == (None, 3)


def test_the_listed_names_are_covered():
    assert set(CLASSIFIERS + DETECTORS + embedded_names()) <= set(architecture_names())


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 10, 999, 1001])
def test_a_fine_tuned_head_is_recognised(name, classes):
    found = infer_architecture(shapes_of(name, num_classes=classes))
    assert found is not None
    assert (found.name, found.outputs[0].shape) == (name, (None, classes))
    assert "labels" not in found.facts


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x1_0"])
def test_facts_are_those_of_the_onnx_exports(name):
    recipe = external._recipe(name, torchvision.models.get_model_weights(name).DEFAULT, None)
    found = infer_architecture(module_shapes(recipe.module))
    assert found.facts == recipe.facts
    assert [spec.name for spec in found.outputs] == list(recipe.outputs)
    assert found.inputs[0].shape[2:] == recipe.input_hw
    assert tuple(json.loads(found.facts["pixels"])["mean"]) == pytest.approx(IMAGENET_RGB.mean)


def test_the_detector_ends_before_its_decoding():
    found = infer_architecture(shapes_of("ssdlite320_mobilenet_v3_large", num_classes=7))
    assert [(spec.name, spec.shape) for spec in found.outputs] == [
        ("bbox_regression", (None, 3234, 4)),
        ("cls_logits", (None, 3234, 7)),
    ]
    assert json.loads(found.facts["anchors"])["feature_hw"][0] == [20, 20]


def test_a_segmenter_takes_any_size():
    found = infer_architecture(shapes_of("lraspp_mobilenet_v3_large"))
    assert found.inputs[0].shape == (None, 3, None, None)
    assert [(spec.name, spec.shape) for spec in found.outputs] == [("out", (None, 21, None, None))]


def test_a_vit_tells_its_size_by_its_positions():
    found = infer_architecture(shapes_of("vit_b_16", image_size=384))
    assert (found.name, found.inputs[0].shape, found.facts["input_hw"]) == ("vit_b_16", (None, 3, 384, 384), "384,384")


def test_extra_heads_may_be_there_or_not():
    with_heads = shapes_of("googlenet", init_weights=False)
    without = {name: shape for name, shape in with_heads.items() if not name.startswith("aux")}
    assert infer_architecture(with_heads).name == infer_architecture(without).name == "googlenet"


@pytest.mark.parametrize("name", embedded_names())
def test_the_embedded_networks_are_recognised(name):
    state = torch.load(embedded(name).weights, weights_only=True)
    assert infer_architecture({key: tuple(tensor.shape) for key, tensor in state.items()}).name == name


def test_counters_of_batches_do_not_matter():
    shapes = {key: shape for key, shape in shapes_of("resnet18").items() if not key.endswith("num_batches_tracked")}
    assert infer_architecture(shapes).name == "resnet18"


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_one_difference_is_too_many(change):
    shapes = shapes_of("resnet18")
    if change == "missing":
        del shapes["layer1.0.conv1.weight"]
    elif change == "extra":
        shapes["fc.1.weight"] = (10,)
    else:
        shapes["conv1.weight"] = (64, 1, 7, 7)
    assert infer_architecture(shapes) is None
    if change != "missing":  # without its marker nothing is near
        name, difference = nearest_architecture(shapes)
        assert name == "resnet18"
        assert difference in {
            "fc.1.weight is a stranger to it", "conv1.weight is [64, 1, 7, 7] and should be [64, 3, 7, 7]"
        }  # fmt: skip


@pytest.mark.parametrize(
    "shapes", [{}, {"w": (3,)}, {"layer1.0.conv1.weight": ()}, {"encoder.pos_embedding": (1, 2, 3)}]
)
def test_strangers_are_no_architecture(shapes):
    assert infer_architecture(shapes) is None


def test_a_named_architecture_is_held_to_its_name():
    assert named_architecture("resnet18", shapes_of("resnet18")).name == "resnet18"
    with pytest.raises(
        ModelLoadError, match=r"do not fit resnet34: layer1\.2\.bn1\.bias is missing \(one difference of"
    ):
        named_architecture("resnet34", shapes_of("resnet18"))
    with pytest.raises(ConfigError, match="resnet17 is not an architecture known here"):
        named_architecture("resnet17", {})


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet0_5", "swin_t", "regnet_y_400mf"])
def test_filled_networks_compute_what_the_originals_do(name):
    original = network(name)
    found = infer_architecture(module_shapes(original))
    fill(found.module, original.state_dict())
    assert not any(tensor.is_meta for tensor in (*found.module.parameters(), *found.module.buffers()))
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(found.module(x), original(x))
