"""Networks and fakes that the compiler's tests share."""

from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.torch_model import TorchModel


def loaded(module, inputs=(("x", (None, 3)),), outputs=(("y", (None, 3)),), metadata=None):
    """The module as a loaded model."""
    return TorchModel(
        module.eval(), name="net", format="torch", device=torch.device("cpu"), threads=1, metadata=metadata,
        inputs=[TensorSpec(*spec) for spec in inputs], outputs=[TensorSpec(*spec) for spec in outputs],
    )  # fmt: skip


def tiny_network():
    """Convolution, BatchNorm, activation, linear: `images` [N, 3, 8, 8] -> `logits` [N, 4]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 64, 4)
        )
    return loaded(module, [("images", (None, 3, 8, 8))], [("logits", (None, 4))], {"labels": "a,b,c,d"})


def save_graph(path, nodes, *, inputs=None, outputs=None, initializers=(), opset=19, domain=""):
    """An ONNX file that no checker has seen, as strangers send them; `x` [N, 3, 8, 8] and `y` unless told otherwise."""
    graph = helper.make_graph(
        nodes, "g", inputs or [value("x", ["N", 3, 8, 8])], outputs or [value("y", ["n", "c", "h", "w"])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def conv_graph(path):
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    return save_graph(path, [node], initializers=[("w", weight)], outputs=[value("y", ["N", 4, 6, 6])])


def qdq_graph(path, *, zero_point=0, kind=np.int8, int32_bias=False):
    """x -> Q -> DQ -> Conv with int8 weights per channel; what differs between runtimes is an argument."""
    arrays = [
        ("s", np.float32(0.02)), ("z", kind(zero_point)), ("ws", np.full(4, 0.01, np.float32)),
        ("wz", np.zeros(4, np.int8)), ("wq", np.ones((4, 3, 3, 3), np.int8)),
    ]  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="quantize_x"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="dequantize_x"),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0, name="dequantize_w"),
    ]
    taken = ["xd", "wd"]
    if int32_bias:
        arrays += [("bq", np.ones(4, np.int32)), ("bs", np.full(4, 2e-4, np.float32))]
        nodes.append(helper.make_node("DequantizeLinear", ["bq", "bs"], ["bd"], axis=0, name="dequantize_bias"))
        taken.append("bd")
    nodes.append(helper.make_node("Conv", taken, ["y"], name="conv"))
    return save_graph(path, nodes, initializers=arrays)


class FakeTensorRt(ModuleType):
    """TensorRT as far as the builder calls it, with the differences between its kinds that were read off the bindings
    of 10.16.1.11, 11.4.0.106 and RTX 1.7.1.116; it records the calls in `calls`.
    """

    def __init__(self, name, version, *, parses=True, builds=True):
        super().__init__(name)
        rtx, calls = name == "tensorrt_rtx", []
        self.__version__, self.calls = version, calls
        self.ILogger = type("ILogger", (), {"__init__": lambda self: None})
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="ampere+")
        flags = {"TF32": "tf32", "VERSION_COMPATIBLE": "version-compatible"}
        if version.startswith("10."):  # 11 and RTX raise AttributeError for these
            flags |= {"FP16": "fp16", "INT8": "int8"}
        self.BuilderFlag = SimpleNamespace(**flags)
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        if rtx:
            members = {name: name for name in ("NONE", "CURRENT", "SM80", "SM89")}
            self.ComputeCapability = SimpleNamespace(__members__=members, **members)

        class Cache:
            def __init__(self, data):
                self.data = data

            def serialize(self):
                return self.data + b"+timed"

        class Config:
            num_compute_capabilities = 0

            def __init__(self):
                self.cache = None

            def __setattr__(self, attribute, setting):
                if attribute == "num_compute_capabilities" and not rtx:
                    raise AttributeError(attribute)
                if attribute != "cache":
                    calls.append((attribute, setting))
                object.__setattr__(self, attribute, setting)

            def set_memory_pool_limit(self, pool, size):
                calls.append(("pool", pool, size))

            def set_flag(self, flag):
                calls.append(("set_flag", flag))

            def clear_flag(self, flag):
                calls.append(("clear_flag", flag))

            def add_optimization_profile(self, profile):
                calls.append(("profile", profile.shapes))
                return 0

            def create_timing_cache(self, data):
                assert not rtx, "RTX: DeprecationWarning, timing cache operations are no-ops"
                return Cache(data)

            def set_timing_cache(self, cache, ignore_mismatch):
                self.cache = cache
                calls.append(("timing_cache", cache.data, ignore_mismatch))
                return cache.data != b"of another GPU"

            def get_timing_cache(self):
                return self.cache

            def __getattr__(self, attribute):
                if rtx and attribute == "set_compute_capability":
                    return lambda target, index: calls.append(("target", target, index))
                raise AttributeError(attribute)

        class Profile:
            def __init__(self):
                self.shapes = {}

            def set_shape(self, name, smallest, usual, largest):
                self.shapes[name] = (smallest, usual, largest)

        class Builder:
            def __init__(self, logger):
                self.logger = logger

            def create_network(self, flags):
                calls.append(("create_network", flags))
                return SimpleNamespace(num_layers=3)

            def create_builder_config(self):
                return Config()

            def create_optimization_profile(self):
                return Profile()

            def build_serialized_network(self, network, config):
                if not builds:
                    self.logger.log("Severity.WARNING", "it is late")
                    self.logger.log("Severity.ERROR", "Error Code 10: could not find any implementation: workspace")
                    return None
                return b"plan of " + version.encode()

        class Parser:
            num_errors = 0 if parses else 1

            def __init__(self, network, logger):
                pass

            def parse(self, data, path):
                calls.append(("parse", path))
                return parses

            def get_error(self, index):
                return SimpleNamespace(
                    desc=lambda: "Non-zero zero point is not supported.",
                    node_operator=lambda: "QuantizeLinear",
                    node_name=lambda: "q7",
                )

        self.Builder, self.OnnxParser = Builder, Parser
