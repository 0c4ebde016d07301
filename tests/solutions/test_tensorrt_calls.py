"""One builder for TensorRT 10, 11 and RTX: the calls in which they differ, against recorded fakes of all three.

The fakes know which calls each version has and which it lacks.
"""

import pytest

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.phase2_optimization.compilation.tensorrt_engine import EngineConfig, build_engine
from tests.solutions.compile_parts import conv_graph
from tests.solutions.tensorrt_fakes import KINDS, calls, fake


@pytest.fixture
def graph(tmp_path):
    return conv_graph(tmp_path / "conv.onnx")


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        pytest.param("10", 2, id="10-must-be-asked-for-strong-typing"),
        pytest.param("11", 0, id="11-is-always-strongly-typed"),
        pytest.param("rtx", 0, id="rtx-too"),
    ],
)
def test_every_network_is_strongly_typed(kind, flags, graph, tmp_path):
    api = fake(kind)
    build_engine(graph, tmp_path / "e.plan", api=api, gpu="SM89")
    assert calls(api, "create_network") == [("create_network", flags)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_precision_flag_is_ever_set(kind, graph, tmp_path):
    api = fake(kind)
    build_engine(graph, tmp_path / "e.plan", EngineConfig(version_compatible=True), api=api, gpu="SM89")
    assert calls(api, "set_flag") == [("set_flag", "version-compatible")]


@pytest.mark.parametrize("kind", KINDS)
def test_profile_workspace_and_tf32_reach_the_builder(kind, graph, tmp_path):
    api = fake(kind)
    config = EngineConfig(batches=(1, 2, 6), workspace_bytes=1 << 20, tf32=False, optimization_level=5)
    build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM89")
    assert calls(api, "profile") == [("profile", {"x": ((1, 3, 8, 8), (2, 3, 8, 8), (6, 3, 8, 8))})]
    assert calls(api, "pool") == [("pool", "workspace", 1 << 20)]
    assert calls(api, "clear_flag") == [("clear_flag", "tf32")]
    assert calls(api, "builder_optimization_level") == [("builder_optimization_level", 5)]


@pytest.mark.parametrize("kind", ["10", "11"])
def test_the_timing_cache_is_kept_between_builds(kind, graph, tmp_path):
    api, cache = fake(kind), tmp_path / "timings"
    config = EngineConfig(timing_cache=cache)
    build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM89")
    assert cache.read_bytes() == b"+timed"
    build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM89")
    assert calls(api, "timing_cache") == [("timing_cache", b"", False), ("timing_cache", b"+timed", False)]


def test_a_timing_cache_of_another_gpu_is_replaced(graph, tmp_path):
    api, cache = fake("11"), tmp_path / "timings"
    cache.write_bytes(b"of another GPU")
    build_engine(graph, tmp_path / "e.plan", EngineConfig(timing_cache=cache), api=api, gpu="SM89")
    assert cache.read_bytes() == b"+timed"


def test_rtx_is_not_asked_for_a_timing_cache(graph, tmp_path):
    config = EngineConfig(timing_cache=tmp_path / "timings")
    build_engine(graph, tmp_path / "e.plan", config, api=fake("rtx"), gpu="")
    assert not config.timing_cache.exists()


def test_targets_are_named_for_rtx_only(graph, tmp_path):
    api = fake("rtx")
    record = build_engine(graph, tmp_path / "e.plan", EngineConfig(targets=("SM80", "SM89")), api=api, gpu="")
    assert calls(api, "target") == [("target", "SM80", 0), ("target", "SM89", 1)]
    assert calls(api, "num_compute_capabilities") == [("num_compute_capabilities", 2)]
    assert (record.targets, record.portable) == (("SM80", "SM89"), False)
    with pytest.raises(ConfigError, match="takes no targets"):
        build_engine(graph, tmp_path / "e.plan", EngineConfig(targets=("SM89",)), api=fake("11"), gpu="SM89")
    with pytest.raises(ConfigError, match=r"cannot build for SM90. It knows SM80, SM89"):
        build_engine(graph, tmp_path / "e.plan", EngineConfig(targets=("SM90",)), api=fake("rtx"), gpu="")


def test_hardware_compatibility_is_for_full_tensorrt_only(graph, tmp_path):
    api, config = fake("11"), EngineConfig(hardware_compatible=True)
    assert build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM86").portable
    assert calls(api, "hardware_compatibility_level") == [("hardware_compatibility_level", "ampere+")]
    with pytest.raises(ConfigError, match="give targets"):
        build_engine(graph, tmp_path / "e.plan", config, api=fake("rtx"), gpu="")


@pytest.mark.parametrize("kind", ["10", "11"])
def test_full_tensorrt_needs_the_gpu(kind, graph, tmp_path):
    with pytest.raises(BackendUnavailable, match="builds on the GPU that will run the engine, and there is none here"):
        build_engine(graph, tmp_path / "e.plan", api=fake(kind), gpu="")
