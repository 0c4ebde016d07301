"""What the runtimes share: checks of settings and feeds, the layout, stderr without greetings, absent packages."""

import subprocess
import sys

import numpy as np
import pytest

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.feeds import check_settings, checked_feeds, image_layout, one_line
from solutions.phase1_basics.runtimes.openvino import load_openvino
from solutions.phase1_basics.runtimes.tensorflow import load_tensorflow
from solutions.phase1_basics.runtimes.tflite import load_tflite

SPECS = (TensorSpec("a", (None, 3)), TensorSpec("b", ()))


def test_feeds_come_in_the_order_of_the_specs_and_contiguous():
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    a, b = checked_feeds("m", SPECS, {"b": np.float32(7)[...], "a": wide[:, ::2]})
    assert (a.flags.c_contiguous, a.tolist()) == (True, [[0, 2, 4], [6, 8, 10]])
    assert (b.shape, b) == ((), 7)


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "c"], ["a", "c"]])
def test_wrong_names_are_refused(names):
    with pytest.raises(ConfigError, match=r"m takes the inputs \['a', 'b'\]"):
        checked_feeds("m", SPECS, {name: np.zeros((1, 3), np.float32) for name in names})


@pytest.mark.parametrize(
    ("threads", "options", "message"),
    [(0, {}, "at least 1"), (1, {"x": 1}, "X runtime has no options; got x")],
)
def test_settings(threads, options, message):
    with pytest.raises(ConfigError, match=message):
        check_settings("X", threads, options, ())


@pytest.mark.parametrize(
    ("shapes", "want"),
    [
        pytest.param([(None, 8, 8, 3)], {"layout": "NHWC"}, id="nhwc"),
        pytest.param([(1, 1, None, None)], {"layout": "NCHW"}, id="grey-nchw"),
        pytest.param([(1, 3, 8, 8), (1, 2)], {"layout": "NCHW"}, id="other-inputs-do-not-matter"),
        pytest.param([(1, 3, 8, 8), (1, 8, 8, 3)], {}, id="one-of-each"),
        pytest.param([(1, 3, 3, 3)], {}, id="both"),
        pytest.param([(1, 16, 8, 8)], {}, id="features"),
        pytest.param([(None, None, None, None)], {}, id="all-free"),
    ],
)
def test_layout(shapes, want):
    assert image_layout(TensorSpec(f"x{i}", shape) for i, shape in enumerate(shapes)) == want


def test_an_error_without_words_gives_its_type_and_a_long_one_is_cut():
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("x" * 999))) == 300


@pytest.mark.parametrize(
    ("inside", "stderr"),
    [
        pytest.param(
            "os.write(2, b'I0000 00:00:1795353143.131596 1 port.cc:153] oneDNN is on\\n')", "", id="information"
        ),
        pytest.param("os.write(2, b'INFO: Created delegate\\n')", "", id="litert"),
        pytest.param(
            "os.write(2, b'E0000 00:00:1795353143.131596 1 a.cc:1] bad\\n')",
            "E0000 00:00:1795353143.131596 1 a.cc:1] bad\n",
            id="error",
        ),
        pytest.param("print('mine', file=sys.stderr)", "mine\n", id="python"),
        pytest.param("os.write(2, b'INFO: a\\nb\\nINFO: c\\nd')", "b\nd", id="mixed"),
        pytest.param("os.close(2)", "", id="no-stderr"),
    ],
)
def test_greetings_are_dropped_and_the_rest_is_passed_on(inside, stderr):
    script = f"""
import os, sys
from solutions.phase1_basics.runtimes.quiet import without_greetings
if {inside!r} == "os.close(2)":
    {inside}
try:
    with without_greetings():
        {inside if "close" not in inside else "pass"}
        raise KeyError
except KeyError:
    print("on")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", stderr)


@pytest.mark.parametrize(
    ("load", "module", "content", "extra"),
    [
        pytest.param(load_tensorflow, "tensorflow", b"", "tensorflow", id="tensorflow"),
        pytest.param(load_tflite, "ai_edge_litert.interpreter", b"\x1c\x00\x00\x00TFL3", "tflite", id="tflite"),
        pytest.param(load_openvino, "openvino", b"<net>", "openvino", id="openvino"),
    ],
)
def test_an_absent_package_comes_with_its_command(tmp_path, monkeypatch, load, module, content, extra):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(BackendUnavailable, match=rf'not installed.*pip install "ml-inference\[{extra}\]"') as caught:
        load(path)
    assert "\n" not in str(caught.value)
