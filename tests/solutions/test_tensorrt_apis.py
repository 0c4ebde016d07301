"""Which TensorRT is taken where one, both or neither is installed."""

import sys

import pytest

from solutions.core import optional
from solutions.core.errors import BackendUnavailable
from solutions.phase2_optimization.compilation import tensorrt_api as api_module
from solutions.phase2_optimization.compilation.tensorrt_api import tensorrt_api
from tests.solutions.compile_parts import FakeTensorRt


@pytest.fixture
def installed(monkeypatch):
    """Pretend that exactly these modules are installed."""

    def only(**modules):
        monkeypatch.setattr(api_module, "available", lambda name: name in modules)
        for name in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, name, modules.get(name))

    return only


def test_tensorrt_is_taken_before_rtx(installed):
    installed(tensorrt=FakeTensorRt("tensorrt", "11.4.0.106"), tensorrt_rtx=FakeTensorRt("tensorrt_rtx", "1.7.1.116"))
    assert tensorrt_api().title == "TensorRT 11.4.0.106"
    assert tensorrt_api("tensorrt_rtx").title == "TensorRT-RTX 1.7.1.116"


def test_rtx_is_taken_where_there_is_nothing_else(installed):
    installed(tensorrt_rtx=FakeTensorRt("tensorrt_rtx", "1.7.1.116"))
    assert tensorrt_api().kind == "tensorrt-rtx"


def test_bindings_without_their_libraries_do_not_hide_rtx(installed, monkeypatch):
    """What PyPI's tensorrt-cu13-bindings alone does: its import misses libnvonnxparser.so.11."""
    installed(tensorrt=FakeTensorRt("tensorrt", "11.4"), tensorrt_rtx=FakeTensorRt("tensorrt_rtx", "1.7.1.116"))
    real = optional.importlib.import_module

    def broken(name):
        if name == "tensorrt":
            raise ImportError("libnvonnxparser.so.11: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(optional.importlib, "import_module", broken)
    assert tensorrt_api().kind == "tensorrt-rtx"
    with pytest.raises(BackendUnavailable, match=r"does not load here \(libnvonnxparser"):
        tensorrt_api("tensorrt")


def test_neither_is_one_sentence(installed):
    installed()
    with pytest.raises(BackendUnavailable, match=r"need tensorrt or tensorrt_rtx, which are not installed.*\[tensorrt"):
        tensorrt_api()


def test_an_old_tensorrt_is_refused(installed):
    installed(tensorrt=FakeTensorRt("tensorrt", "8.6.1"))
    with pytest.raises(BackendUnavailable, match=r"TensorRT 8.6.1 is too old"):
        tensorrt_api()
