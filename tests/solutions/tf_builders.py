"""Small TensorFlow, TensorFlow Lite and OpenVINO files for tests, written by those libraries themselves."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import pytest

from solutions.core.optional import available
from solutions.phase1_basics.runtimes.tensorflow_import import import_keras, import_tensorflow, use_threads
from tests.solutions import onnx_builders

SIDE, CLASSES = 16, 5  # of the small network: images [N, 16, 16, 3] in 0..1, five probabilities


def needs(module, extra):
    """Nothing comes back; the test is not run where the optional package is absent."""
    if not available(module):
        pytest.skip(f'not run here: needs {module} (pip install "ml-inference[{extra}]")')


def tensorflow():
    """TensorFlow on one thread, or the test is not run here."""
    needs("tensorflow", "tensorflow")
    use_threads(1)
    return import_tensorflow()


def keras():
    """Keras on TensorFlow, or the test is not run here."""
    tensorflow()
    return import_keras()


@contextlib.contextmanager
def writing():
    """Let Keras and the converter write files under pytest.

    Keras asks NumPy for copies in a deprecated way, and the converter warns about calibration while it calibrates.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)
        yield


def images(count=3, seed=0):
    """Random images for the small network."""
    return np.random.default_rng(seed).random((count, SIDE, SIDE, 3)).astype(np.float32)


def small_network(seed=0):
    """Keras: convolution, BatchNorm with statistics of its own, ReLU, pooling, softmax: `image` -> `probabilities`."""
    layers = keras().layers
    x = layers.Input((SIDE, SIDE, 3), name="image")
    y = layers.Conv2D(8, 3, strides=2, name="stem")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(y))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras().Model(x, layers.Dense(CLASSES, activation="softmax", name="probabilities")(y), name="small")
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.5, w.shape).astype(np.float32) ** (2 if "var" in w.path else 1)
                       for w in model.weights])  # fmt: skip
    return model


def doubling_network():
    """Keras: y = 2 x for float32 [N, 3]."""
    x = keras().layers.Input((3,), name="x")
    return keras().Model(x, keras().layers.Rescaling(2.0, name="y")(x), name="doubling")


def save_keras(model, path: Path) -> Path:
    """A .keras or .h5 file, by the suffix of `path`."""
    with writing():
        model.save(path)
    return path


def save_saved_model(model, folder: Path) -> Path:
    """A SavedModel folder with the signatures `serve` and `serving_default`."""
    with writing():
        model.export(folder, verbose=False)
    return folder


def save_graph(model, path: Path) -> Path:
    """A frozen GraphDef with the model's own input names."""
    tf = tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs]
    function = tf.function(lambda *x: model(x if len(x) > 1 else x[0], training=False)).get_concrete_function(*specs)
    path.write_bytes(convert_variables_to_constants_v2(function).graph.as_graph_def().SerializeToString())
    return path


def save_tflite(model, path: Path, *, calibration=None, dtype="int8") -> Path:
    """A .tflite file; int8 inside and `dtype` at its ends where `calibration` images are given."""
    tf = tensorflow()
    with writing():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if calibration is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(dtype)
        path.write_bytes(converter.convert())
    return path


def save_openvino(onnx_path: Path, path: Path) -> Path:
    """An OpenVINO .xml with its .bin, from an ONNX file, in float32."""
    needs("openvino", "openvino")
    import openvino

    openvino.save_model(openvino.Core().read_model(onnx_path), path, compress_to_fp16=False)
    return path


def _doubling_openvino(folder: Path) -> Path:
    needs("openvino", "openvino")
    (folder / "source").mkdir()
    return save_openvino(onnx_builders.doubling(folder / "source" / "doubling.onnx"), folder / "doubling.xml")


DOUBLING = {  # kind of content -> a file of that kind, called "doubling", that doubles float32 [N, 3]
    "tf-saved-model": lambda folder: save_saved_model(doubling_network(), folder / "doubling"),
    "keras": lambda folder: save_keras(doubling_network(), folder / "doubling.keras"),
    "keras-h5": lambda folder: save_keras(doubling_network(), folder / "doubling.h5"),
    "tf-graph": lambda folder: save_graph(doubling_network(), folder / "doubling.pb"),
    "tflite": lambda folder: save_tflite(doubling_network(), folder / "doubling.tflite"),
    "openvino": _doubling_openvino,
}
