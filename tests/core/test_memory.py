"""Bytes of tensors, and memory of the process as the kernel tells it."""

import pytest

from solutions.core.errors import ConfigError
from solutions.core.measure.memory import peak_rss_during, peak_rss_mb, rss_mb, tensor_bytes, vram_mb


@pytest.mark.parametrize(
    ("shape", "dtype", "want"),
    [
        pytest.param((), "float32", 4, id="scalar"),
        pytest.param((2, 3), "float16", 12, id="half"),
        pytest.param((2, 3), "bfloat16", 12, id="bfloat16-is-not-numpys"),
        pytest.param((5,), "int4", 3, id="packed-rounds-up"),
        pytest.param((0, 7), "int64", 0, id="empty"),
        pytest.param((4,), "bool", 4, id="bool-is-a-byte"),
        pytest.param((3,), "float8_e4m3fn", 3, id="float8"),
    ],
)
def test_tensor_bytes(shape, dtype, want):
    assert tensor_bytes(shape, dtype) == want


@pytest.mark.parametrize(("shape", "dtype"), [((-1,), "float32"), ((1,), "floaty")])
def test_tensor_bytes_refuses(shape, dtype):
    with pytest.raises(ConfigError):
        tensor_bytes(shape, dtype)


def status(folder, *, peak_kib, resident_kib):
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{peak_kib} kB\nVmRSS:\t  {resident_kib} kB\n")


def test_peak_is_read_from_the_high_water_mark(tmp_path):
    status(tmp_path, peak_kib=2000, resident_kib=1000)
    assert peak_rss_mb(tmp_path) == pytest.approx(2.048)


def test_block_peak_is_exact_where_the_mark_can_be_reset(tmp_path):
    (tmp_path / "clear_refs").write_text("")
    status(tmp_path, peak_kib=1000, resident_kib=1000)
    with peak_rss_during(tmp_path) as peak:
        status(tmp_path, peak_kib=3000, resident_kib=1500)
    assert (tmp_path / "clear_refs").read_text() == "5"
    assert peak.exact
    assert (peak.start_mb, peak.peak_mb, peak.growth_mb) == pytest.approx((1.024, 3.072, 2.048))


def test_block_peak_is_an_upper_bound_below_an_older_peak(tmp_path):
    (tmp_path / "clear_refs").mkdir()  # cannot be written, even by root
    status(tmp_path, peak_kib=9000, resident_kib=1000)
    with peak_rss_during(tmp_path) as peak:
        pass
    assert not peak.exact
    assert peak.peak_mb == pytest.approx(9.216)


def test_block_peak_is_exact_when_it_sets_a_new_record_anyway(tmp_path):
    (tmp_path / "clear_refs").mkdir()
    status(tmp_path, peak_kib=9000, resident_kib=1000)
    with peak_rss_during(tmp_path) as peak:
        status(tmp_path, peak_kib=9500, resident_kib=1000)
    assert peak.exact


def test_peak_is_filled_in_when_the_block_raises(tmp_path):
    status(tmp_path, peak_kib=1000, resident_kib=1000)
    with pytest.raises(RuntimeError), peak_rss_during(tmp_path) as peak:
        raise RuntimeError
    assert peak.peak_mb == pytest.approx(1.024)


def test_this_process():
    with peak_rss_during() as peak:
        block = bytearray(b"x") * 50_000_000
    assert len(block) == 50_000_000
    assert rss_mb() > 1
    if peak.exact:
        assert peak.growth_mb > 40


def test_vram_is_none_or_a_size():
    assert (vram_mb() or 0.0) >= 0.0
