"""TensorFlow files, written by the tests themselves: what they say, what they compute, what is refused."""

import subprocess
import sys

import numpy as np
import pytest

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.phase1_basics.runtimes.tensorflow import load_tensorflow
from solutions.phase1_basics.runtimes.tensorflow_import import use_threads
from tests.solutions import tf_builders as build

SAVERS = {
    "tf-saved-model": (build.save_saved_model, "small", "output_0"),
    "keras": (build.save_keras, "small.keras", "probabilities"),
    "keras-h5": (build.save_keras, "small.h5", "probabilities"),
    "tf-graph": (build.save_graph, "small.pb", "Identity"),
}
# Three layers of at most 72 products, and a softmax: eps x (27 + 8 products in a row + a few) with room for the order
# in which they are summed; probabilities are at most 1.
TOLERANCE = 64 * np.finfo(np.float32).eps


@pytest.fixture(scope="module")
def network():
    return build.small_network()


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {kind: saver(network, folder / name) for kind, (saver, name, _) in SAVERS.items()}


@pytest.fixture(scope="module")
def want(network):
    return np.asarray(network(build.images(), training=False).numpy())


@pytest.mark.parametrize("kind", sorted(SAVERS))
def test_it_says_what_goes_in_and_out(files, kind):
    model = load_tensorflow(files[kind])
    assert (model.name, model.format, model.device, model.metadata["layout"]) == ("small", kind, "cpu", "NHWC")
    assert [(spec.name, spec.describe()) for spec in model.inputs] == [("image", "float32[?, 16, 16, 3]")]
    assert [(spec.name, spec.describe()) for spec in model.outputs] == [(SAVERS[kind][2], "float32[?, 5]")]


@pytest.mark.parametrize("kind", sorted(SAVERS))
def test_it_computes_what_keras_does(files, want, kind):
    model = load_tensorflow(files[kind], device="cpu", threads=1)
    for rows in (3, 1, 2):
        (got,) = model.predict({"image": build.images()[:rows]}).values()
        assert (got.dtype, got.flags.c_contiguous) == (np.float32, True)
        np.testing.assert_allclose(got, want[:rows], rtol=0, atol=TOLERANCE)
    (got,) = model.predict({"image": build.images()[::-1]}).values()
    np.testing.assert_allclose(got, want[::-1], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", sorted(SAVERS))
def test_the_content_counts_and_not_the_name(files, want, kind, tmp_path):
    path = tmp_path / "model.onnx"
    path.symlink_to(files[kind])
    (got,) = load_tensorflow(path).predict({"image": build.images()}).values()
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE)


def test_feeds_are_checked_and_close_is_final(files):
    model = load_tensorflow(files["keras"])
    with pytest.raises(ConfigError, match=r"image wants float32\[\?, 16, 16, 3\], got float64"):
        model.predict({"image": build.images().astype(np.float64)})
    with pytest.raises(ConfigError, match="takes the inputs"):
        model.predict({"x": build.images()})
    model.close()
    model.close()
    with pytest.raises(PipelineStopped, match="was closed"):
        model.predict({"image": build.images()})


def test_settings_are_checked(files):
    for options, message in (
        ({"threads": 0}, "at least 1"),
        ({"device": "tpu"}, "auto or cpu"),
        ({"signature": "x"}, r"TensorFlow \(keras\) runtime has the options trust_pickle; got signature"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_tensorflow(files["keras"], **options)
    with pytest.raises(BackendUnavailable, match="run on the CPU here, not on cuda:0"):
        load_tensorflow(files["keras"], device="cuda:0")


def test_another_number_of_threads_is_said_to_have_no_effect(files, caplog):
    model = load_tensorflow(files["tf-graph"], threads=7)
    assert model.threads == use_threads(None) != 7
    assert "threads=7 has no effect" in caplog.text


def test_tensorflow_is_imported_late_and_in_silence(files):
    script = (
        "import sys, numpy; from solutions.phase1_basics.runtimes.tensorflow import load_tensorflow as load\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "for path in sys.argv[1:]: load(path, threads=1).predict({'image': numpy.zeros((1, 16, 16, 3), 'float32')})\n"
        "print(load(path).threads)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, files.values())],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1\n")


def module_with(folder, functions, **options):
    """A SavedModel whose signatures are `functions` of one float32 [N, 3], default one called as its key."""
    tf = build.tensorflow()
    module = tf.Module()
    spec = tf.TensorSpec((None, 3), tf.float32, name="x")
    signatures = {key: tf.function(body).get_concrete_function(spec) for key, body in functions.items()}
    module.kept = list(signatures.values())
    tf.saved_model.save(module, str(folder), signatures=signatures, **options)
    return folder


def test_a_signature_can_be_chosen(tmp_path):
    path = module_with(tmp_path / "m", {"double": lambda x: {"y": 2 * x}, "triple": lambda x: {"z": 3 * x}})
    x = np.ones((2, 3), np.float32)
    (y,) = load_tensorflow(path, signature="triple").predict({"x": x}).values()
    np.testing.assert_array_equal(y, 3 * x)
    with pytest.raises(ConfigError, match="signatures double, triple: choose one with signature="):
        load_tensorflow(path)
    with pytest.raises(ConfigError, match="no signature half; it has double, triple"):
        load_tensorflow(path, signature="half")


def test_the_only_signature_and_the_default_one_need_no_name(tmp_path):
    alone = module_with(tmp_path / "alone", {"double": lambda x: {"y": 2 * x}})
    assert load_tensorflow(alone).metadata["signature"] == "double"
    both = module_with(tmp_path / "both", {"a": lambda x: {"y": x}, "serving_default": lambda x: {"y": x}})
    assert load_tensorflow(both).metadata["signature"] == "serving_default"
    assert load_tensorflow(both / "saved_model.pb").name == "both"


def test_a_saved_model_without_signatures(tmp_path):
    with pytest.raises(ModelLoadError, match="has no signature"):
        load_tensorflow(module_with(tmp_path / "m", {}))


def test_a_graph_that_writes_files_is_refused_before_it_runs(tmp_path):
    tf = build.tensorflow()
    victim = tmp_path / "victim"

    def body(x):
        tf.io.write_file(str(victim), "overwritten")
        return {"y": x}

    with pytest.raises(ModelLoadError, match=r"touch files or run Python while it predicts \(WriteFile\); refused"):
        load_tensorflow(module_with(tmp_path / "m", {"serving_default": body}))
    assert not victim.exists()


def test_a_write_hidden_two_functions_deep_is_found(tmp_path):
    tf = build.tensorflow()

    @tf.function
    def inner(x):
        tf.io.write_file("/nowhere", "x")
        return x

    outer = tf.function(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: inner(x), lambda: x))
    with pytest.raises(ModelLoadError, match="WriteFile"):
        load_tensorflow(module_with(tmp_path / "m", {"serving_default": lambda x: {"y": outer(x)}}))


def test_strings_are_refused(tmp_path):
    tf = build.tensorflow()
    with pytest.raises(ModelLoadError, match="y is a string tensor"):
        load_tensorflow(module_with(tmp_path / "m", {"serving_default": lambda x: {"y": tf.strings.as_string(x)}}))


@pytest.mark.parametrize(
    ("name", "share"),
    [
        pytest.param("saved_model.pb", 0.5, id="half-a-graph"),
        pytest.param("saved_model.pb", 0.0, id="no-graph"),
        pytest.param("variables/variables.index", 0.5, id="half-an-index"),
        pytest.param("variables/variables.data-00000-of-00001", 0.5, id="half-the-weights"),
        pytest.param("variables/variables.data-00000-of-00001", None, id="weights-missing"),
    ],
)
def test_a_damaged_saved_model_is_one_sentence(network, tmp_path, name, share):
    folder = build.save_saved_model(network, tmp_path / "small")
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if share is not None:
        (folder / name).write_bytes(whole[: int(len(whole) * share)])
    refused(folder, "damaged or truncated|holds no graph|not a whole SavedModel")


def test_an_empty_folder_is_one_sentence(tmp_path):
    build.tensorflow()
    refused(tmp_path, "cannot be read")


def refused(path, message, **options):
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_tensorflow(path, **options)
    assert "\n" not in str(caught.value)


def test_a_saved_model_of_tensorflow_1(tmp_path):
    tf = build.tensorflow()
    v1 = tf.compat.v1
    folder = tmp_path / "m"
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder("float32", (None, 3), name="inner_x")
        y = x * v1.get_variable("w", initializer=np.array([1, 2, 3], np.float32), use_resource=True)
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    (y,) = load_tensorflow(folder).predict({"x": np.ones((2, 3), np.float32)}).values()
    np.testing.assert_array_equal(y, [[1, 2, 3]] * 2)
