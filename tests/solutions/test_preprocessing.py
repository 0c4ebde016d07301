"""From frames to tensors: torchvision's own presets as the yardstick, quantized codes, and what a model may tell."""

import json

import numpy as np
import pytest
import torchvision
from PIL import Image

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.vision.images import IMAGENET_RGB, PixelFormat
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS, Preprocessing, quantization_of
from solutions.phase1_basics.prediction.resizing import Resize
from tests.solutions.stub_models import StubModel


def frame(height=240, width=320, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def model_with(shape, dtype="float32", metadata=None, quantization=None):
    return StubModel([("x", shape, dtype)], [("y", (None, 5))], metadata=metadata, quantization=quantization)


# (p / 255 - mean) / std against p * (1 / 255 / std) - mean / std in float32: values below 4.6, three roundings on each
# side of at most 2^-24 relative each
FLOAT_TOLERANCE = 6 * 4.6 * 2**-24


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_v2_s", "convnext_tiny"]
)
@pytest.mark.parametrize("picture_hw", [(240, 320), (500, 333), (97, 61)])
def test_torchvisions_preset_is_matched(name, picture_hw):
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    (side,), (shorter,) = preset.crop_size, preset.resize_size
    facts = {
        "pixels": json.dumps({"rgb": True, "scale": 1 / 255, "mean": preset.mean, "std": preset.std}),
        "input_hw": f"{side},{side}",
        "resize": json.dumps({"shorter_side": shorter, "interpolation": preset.interpolation.value}),
    }
    preprocessing = Preprocessing.of(model_with((None, 3, None, None), metadata=facts))
    assert preprocessing.assumed == ()
    pixels = frame(*picture_hw)
    want = preset(Image.fromarray(pixels[..., ::-1])).numpy()
    got = preprocessing.batch([pixels])
    assert (got.shape, got.dtype, got.flags.c_contiguous) == ((1, 3, side, side), np.float32, True)
    np.testing.assert_allclose(got[0], want, atol=FLOAT_TOLERANCE, rtol=0)


def test_rows_do_not_depend_on_their_neighbours():
    preprocessing = Preprocessing(input_hw=(32, 48), resize=Resize("stretch"))
    frames = [frame(40, 60, 1), frame(10, 90, 2), frame(32, 48, 3)]
    together = preprocessing.batch(frames)
    for row, pixels in zip(together, frames, strict=True):
        np.testing.assert_array_equal(row, preprocessing.batch([pixels])[0])
    assert preprocessing.batch([]).shape == (0, 3, 32, 48)


def test_layouts_hold_the_same_numbers():
    pixels = frame()
    planes = Preprocessing.of(model_with((None, 3, 64, 96)), pixels=IMAGENET_RGB).batch([pixels])
    interleaved = Preprocessing.of(model_with((None, 64, 96, 3)), pixels=IMAGENET_RGB).batch([pixels])
    assert interleaved.shape == (1, 64, 96, 3)
    np.testing.assert_array_equal(interleaved.transpose(0, 3, 1, 2), planes)


def test_half_precision_and_grey():
    pixels = frame(64, 64)
    half = Preprocessing.of(model_with((1, 3, 64, 64), "float16"), resize=Resize("stretch")).batch([pixels])
    full = Preprocessing.of(model_with((1, 3, 64, 64)), resize=Resize("stretch")).batch([pixels])
    np.testing.assert_array_equal(half, full.astype(np.float16))
    grey = Preprocessing.of(model_with((1, 1, 64, 64)), pixels=PIXEL_FORMATS["unit"], resize=Resize("stretch")).batch(
        [np.full((64, 64, 3), 51, np.uint8)]
    )
    assert grey.shape == (1, 1, 64, 64)
    np.testing.assert_allclose(grey, 0.2, atol=1e-6)


def test_channel_order():
    blue = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    stretch = Resize("stretch")
    rgb = Preprocessing.of(model_with((1, 3, 8, 8)), pixels=PIXEL_FORMATS["raw"], resize=stretch).batch([blue])
    bgr = Preprocessing.of(model_with((1, 3, 8, 8)), pixels=PIXEL_FORMATS["raw-bgr"], resize=stretch).batch([blue])
    np.testing.assert_array_equal(rgb[0, :, 0, 0], [0, 0, 255])
    np.testing.assert_array_equal(bgr[0, :, 0, 0], [255, 0, 0])


@pytest.mark.parametrize(("name", "low", "high"), [("unit", 0, 1), ("signed", -1, 1), ("raw", 0, 255)])
def test_named_ranges(name, low, high):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[4:] = 255
    tensor = Preprocessing(input_hw=(8, 8), resize=Resize("stretch"), pixels=PIXEL_FORMATS[name]).batch([pixels])
    np.testing.assert_allclose([tensor.min(), tensor.max()], [low, high], atol=1e-6)


@pytest.mark.parametrize(("dtype", "shift"), [("uint8", 0), ("int8", -128)])
def test_8_bit_models_that_tell_nothing_get_the_bytes(dtype, shift):
    told = {"x": (1 / 128, 128 + shift)}  # the scale is there, but not what the real numbers behind it mean
    pixels = frame(16, 16)
    model = model_with((1, 16, 16, 3), dtype, quantization=told)
    preprocessing = Preprocessing.of(model, resize=Resize("stretch"))
    codes = preprocessing.batch([pixels])
    assert codes.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(codes[0].astype(int), pixels[..., ::-1].astype(int) + shift)
    assert preprocessing.assumed == ("raw pixels",)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_quantized_inputs_decode_to_the_real_numbers(dtype):
    scale, zero_point = 0.0186, 114 if dtype == "uint8" else -14
    pixels = frame(16, 16)
    model = model_with((1, 3, 16, 16), dtype, quantization={"x": (scale, zero_point)})
    codes = Preprocessing.of(model, pixels=IMAGENET_RGB, resize=Resize("stretch")).batch([pixels])
    real = Preprocessing(input_hw=(16, 16), pixels=IMAGENET_RGB, resize=Resize("stretch")).batch([pixels])
    limits = np.iinfo(dtype)
    inside = np.clip(real, (limits.min - zero_point) * scale, (limits.max - zero_point) * scale)
    # half a quantization step, and the float32 rounding of code * scale
    np.testing.assert_allclose((codes.astype(float) - zero_point) * scale, inside, atol=scale / 2 + 1e-6)
    assert (codes == limits.min).any() or (codes == limits.max).any()


def test_out_of_range_pixels_saturate_and_do_not_wrap():
    model = model_with((1, 3, 2, 2), "int8", quantization={"x": (0.001, 0)})
    codes = Preprocessing.of(model, pixels=PIXEL_FORMATS["signed"], resize=Resize("stretch")).batch(
        [np.array([[[0] * 3, [255] * 3]] * 2, np.uint8)]
    )
    np.testing.assert_array_equal(codes[0, 0], [[-128, 127]] * 2)


def test_a_scale_of_zero_means_none():
    assert quantization_of(model_with((1, 3, 8, 8), quantization={"x": (0.0, 0)}), "x") is None
    assert quantization_of(model_with((1, 3, 8, 8)), "x") is None


def test_the_models_sizes_win_and_free_ones_are_told():
    facts = {"input_hw": "96,128"}
    assert Preprocessing.of(model_with((1, 3, 64, 48), metadata=facts)).input_hw == (64, 48)
    assert Preprocessing.of(model_with((1, 3, None, None), metadata=facts)).input_hw == (96, 128)
    guessed = Preprocessing.of(model_with((1, 3, None, None)))
    assert guessed.input_hw == (224, 224)
    assert guessed.assumed[0] == "input size 224 x 224"
    assert any("imagenet pixels" in line for line in guessed.assumed)


def test_layout_where_the_axes_do_not_tell():
    assert Preprocessing.of(model_with((1, 3, 3, 3))).layout == "NCHW"
    assert Preprocessing.of(model_with((1, 3, 3, 3), metadata={"layout": "NHWC"})).layout == "NHWC"
    assert Preprocessing.of(model_with((1, None, None, None), metadata={"layout": "NHWC"})).layout == "NHWC"


def test_float_models_of_tensorflow_are_taken_for_signed():
    preprocessing = Preprocessing.of(model_with((None, 224, 224, 3)))
    assert preprocessing.pixels == PIXEL_FORMATS["signed"]
    assert "signed pixels" in preprocessing.assumed


def test_the_embedded_crop_model_takes_stretched_frames():
    model = load_model(embedded("street-classifier").onnx, device="cpu", threads=1)
    preprocessing = Preprocessing.of(model)
    assert (preprocessing.resize.rule, preprocessing.pixels, preprocessing.input_hw) == (
        "stretch", PixelFormat(), (48, 48),
    )  # fmt: skip
    assert preprocessing.assumed == ()
    model.close()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        pytest.param({"input_hw": "224"}, "a height and a width", id="one-number"),
        pytest.param({"pixels": "rgb"}, "JSON object was expected", id="no-json"),
        pytest.param({"pixels": '{"rgb": true}'}, "not understood here", id="no-scale"),
        pytest.param(
            {"pixels": '{"rgb": true, "scale": 1, "mean": [0], "std": [1]}'}, "three values", id="one-channel"
        ),
        pytest.param(
            {"pixels": '{"rgb": true, "scale": 1, "mean": [0,0,0], "std": [1,0,1]}'}, "not be 0", id="std-of-zero"
        ),
        pytest.param({"resize": "[256]"}, "JSON object was expected", id="resize-list"),
        pytest.param({"resize": '{"longer_side": 9}'}, "not understood here", id="resize-unknown"),
        pytest.param({"resize": '{"rule": "zoom"}'}, "crop, stretch, letterbox", id="resize-rule"),
        pytest.param({"resize": '{"shorter_side": "256"}'}, "not understood here", id="resize-text"),
    ],
)
def test_metadata_that_makes_no_sense(facts, message):
    with pytest.raises(ModelLoadError, match=message) as caught:
        Preprocessing.of(model_with((1, 3, 8, 8), metadata=facts))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([("x", (None, 10))], id="no-picture"),
        pytest.param([("x", (1, 5, 8, 8))], id="five-channels"),
        pytest.param([("a", (1, 3, 8, 8)), ("b", (1, 8, 8, 3))], id="two-pictures"),
    ],
)
def test_inputs_that_are_not_one_picture(inputs):
    with pytest.raises(ConfigError, match="exactly one input of pictures"):
        Preprocessing.of(StubModel(inputs, [("y", (None, 5))]))


def test_codes_without_scale_cannot_hold_normalised_pixels():
    with pytest.raises(ConfigError, match="give the quantization, or raw pixels"):
        Preprocessing.of(model_with((1, 3, 8, 8), "uint8"), pixels=IMAGENET_RGB)
    with pytest.raises(ConfigError, match="not as int64"):
        Preprocessing.of(model_with((1, 3, 8, 8), "int64"))
    with pytest.raises(ConfigError, match="scale of x must be > 0"):
        Preprocessing(input_name="x", dtype="uint8", quantization=(-1.0, 0))
