"""Joules from planted powercap, hwmon and NVML readings; and the reason where there are none."""

import itertools
from pathlib import Path

import pytest

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.energy import Energy, EnergyMeter, find_readers
from solutions.core.measure.energy_readers import CounterReader, PowerReader, jetson_reader, nvml_reader, rapl_reader


def plant(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def powercap(root, zones):
    for zone, (name, energy_uj) in zones.items():
        base = f"sys/class/powercap/{zone}"
        plant(root, {f"{base}/name": name, f"{base}/energy_uj": energy_uj, f"{base}/max_energy_range_uj": 10_000_000})
    return root


PACKAGE = {
    "intel-rapl:0": ("package-0", 9_000_000),
    "intel-rapl:0:0": ("core", 5_000_000),
    "intel-rapl:0:1": ("dram", 1_000_000),
    "intel-rapl:1": ("psys", 1_000_000),
}


def test_rapl_adds_packages_and_memory_only(tmp_path):
    reader = rapl_reader(powercap(tmp_path, PACKAGE))
    assert reader.name == "rapl: package-0 + dram"
    assert reader.sample(0.0) == 0.0
    powercap(tmp_path, {**PACKAGE, "intel-rapl:0": ("package-0", 9_500_000), "intel-rapl:0:0": ("core", 9_000_000)})
    assert reader.sample(1.0) == pytest.approx(0.5)


def test_rapl_counter_wraps(tmp_path):
    reader = rapl_reader(powercap(tmp_path, PACKAGE))
    reader.sample(0.0)
    for energy_uj in (1_000_000, 8_000_000, 2_000_000):  # 9 -> wraps to 1 -> 8 -> wraps to 2
        powercap(tmp_path, {"intel-rapl:0": ("package-0", energy_uj)})
        joules = reader.sample(0.0)
    assert joules == pytest.approx(2 + 7 + 4)


def test_rapl_says_why_not(tmp_path):
    with pytest.raises(BackendUnavailable, match="no package counters"):
        rapl_reader(tmp_path)
    powercap(tmp_path, {"intel-rapl:0": ("package-0", 1)})
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    counter.mkdir()  # cannot be read, even by root
    with pytest.raises(BackendUnavailable, match="root only"):
        rapl_reader(tmp_path)


HWMON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"


def test_jetson_total_rail_in_volts_and_amperes(tmp_path):
    plant(tmp_path, {f"{HWMON}/in1_label": "VDD_IN", f"{HWMON}/in1_input": 5000, f"{HWMON}/curr1_input": 2000})
    plant(tmp_path, {f"{HWMON}/in2_label": "VDD_CPU_GPU_CV", f"{HWMON}/in2_input": 5000, f"{HWMON}/curr2_input": 900})
    reader = jetson_reader(tmp_path)
    assert reader.name == "jetson: VDD_IN"
    reader.sample(0.0)
    plant(tmp_path, {f"{HWMON}/curr1_input": 4000})
    assert reader.sample(2.0) == pytest.approx((10 + 20) / 2 * 2.0)


def test_jetson_agx_adds_its_rails(tmp_path):
    for channel, rail in enumerate(("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), start=1):
        plant(tmp_path, {f"{HWMON}/in{channel}_label": rail, f"{HWMON}/in{channel}_input": 1000})
        plant(tmp_path, {f"{HWMON}/curr{channel}_input": 1000})
    reader = jetson_reader(tmp_path)
    reader.sample(0.0)
    assert reader.sample(1.0) == pytest.approx(3.0)


def test_jetson_of_jetpack_4(tmp_path):
    base = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    plant(tmp_path, {f"{base}/rail_name_0": "POM_5V_IN", f"{base}/in_power0_input": 2500})
    reader = jetson_reader(tmp_path)
    reader.sample(0.0)
    assert reader.sample(4.0) == pytest.approx(10.0)


def test_jetson_names_the_rails_it_cannot_use(tmp_path):
    plant(tmp_path, {f"{HWMON}/in1_label": "VDD_SOC", f"{HWMON}/in1_input": 1, f"{HWMON}/curr1_input": 1})
    with pytest.raises(BackendUnavailable, match="only VDD_SOC"):
        jetson_reader(tmp_path)


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, cards=1, *, counts_energy=True):
        self.cards, self.counts_energy, self.millijoules = cards, counts_energy, 1000

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, card):
        if not self.counts_energy:
            raise self.NVMLError("Not Supported")
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, card):
        return 30_000


def test_nvml_counts_all_cards():
    nvml = FakeNvml(cards=2)
    reader = nvml_reader(nvml)
    reader.sample(0.0)
    nvml.millijoules += 5000
    assert reader.sample(1.0) == pytest.approx(10.0)


def test_nvml_integrates_power_on_old_cards():
    reader = nvml_reader(FakeNvml(counts_energy=False))
    reader.sample(0.0)
    assert reader.sample(2.0) == pytest.approx(60.0)


def test_nvml_without_a_card():
    with pytest.raises(BackendUnavailable, match="no card"):
        nvml_reader(FakeNvml(cards=0))


def test_meter_reports_joules_watts_and_shares():
    values, times = itertools.count(0.0, 4.0), itertools.count(0.0, 1.0)
    reader = CounterReader("fake", [(lambda: next(values), 0.0)])
    with EnergyMeter([reader], interval_s=None, clock=lambda: next(times)) as meter:
        meter.sample()
    assert meter.result.joules == pytest.approx(8.0)
    assert meter.result.watts == pytest.approx(8.0 / meter.result.seconds)
    assert meter.result.per(4) == pytest.approx(2.0)
    assert meter.result.as_dict()["by_source"] == {"fake": 8.0}
    assert "8 J" in str(meter.result)


def test_meter_thread_ends_with_the_block():
    reader = PowerReader("fake", lambda: 1.0)
    with EnergyMeter([reader], interval_s=0.001) as meter:
        assert meter._thread is not None
    assert not meter._thread.is_alive()
    assert meter.result.joules is not None


def test_meter_that_fails_drops_out_with_its_reason():
    answers = iter([1.0])

    def read():
        try:
            return next(answers)
        except StopIteration:
            raise OSError("gone") from None

    with EnergyMeter([CounterReader("fake", [(read, 0.0)])], interval_s=None) as meter:
        pass
    assert meter.result.joules is None
    assert "fake stopped answering: gone" in str(meter.result)


def test_nothing_to_measure_is_a_value_with_a_reason(tmp_path):
    readers, reasons = find_readers(tmp_path)
    assert readers == []
    assert len(reasons) == 2
    energy = Energy(None, 1.0, reason="; ".join(reasons))
    assert (energy.watts, energy.per(3)) == (None, None)
    assert str(energy).startswith("not measurable here (")


def test_on_a_jetson_only_the_supply_rail_counts(tmp_path):
    powercap(tmp_path, PACKAGE)
    plant(tmp_path, {f"{HWMON}/in1_label": "VDD_IN", f"{HWMON}/in1_input": 5000, f"{HWMON}/curr1_input": 2000})
    assert [reader.name for reader in find_readers(tmp_path)[0]] == ["jetson: VDD_IN"]


def test_this_machine_has_an_answer():
    with EnergyMeter(interval_s=None) as meter:
        sum(range(1000))
    assert meter.result.joules is not None or meter.result.reason


def test_meter_refuses():
    with pytest.raises(ConfigError):
        EnergyMeter([], interval_s=0)
    with pytest.raises(ConfigError, match="ended"):
        _ = EnergyMeter([]).result
    with pytest.raises(ConfigError):
        Energy(1.0, 1.0).per(0)
