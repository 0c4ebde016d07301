"""TensorRT 10, 11 and RTX as recorded fakes, and RTX itself where it is installed."""

import pytest

from solutions.core.optional import available
from solutions.phase2_optimization.compilation.tensorrt_api import TensorRtApi, tensorrt_api
from tests.solutions.compile_parts import FakeTensorRt

KINDS = {
    "10": ("tensorrt", "10.16.1.11"),
    "11": ("tensorrt", "11.4.0.106"),
    "rtx": ("tensorrt_rtx", "1.7.1.116"),
}


def fake(kind, **behaviour):
    """The calls of one kind, with a fake below them."""
    name, version = KINDS[kind]
    module = FakeTensorRt(name, version, **behaviour)
    return TensorRtApi(module, name.replace("_", "-"), version)


def calls(api, name):
    """What was said to the fake under that name, in order."""
    return [call for call in api.module.calls if call[0] == name]


def installed_rtx():
    """TensorRT-RTX as it is installed; it builds engines with no GPU. The test is skipped where it is not installed."""
    if not available("tensorrt_rtx"):
        pytest.skip('not run here: TensorRT-RTX is not installed (pip install "ml-inference[tensorrt-rtx]")')
    return tensorrt_api("tensorrt_rtx")
