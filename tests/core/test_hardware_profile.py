"""The machine as planted /proc, /sys and /dev trees describe it."""

import json
import subprocess
import sys
import time

import pytest

from solutions.core.hardware.cgroups import cpu_quota, memory_limit_bytes, usable_cores
from solutions.core.hardware.profile import detect


def plant(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
DOCKER_V1_MOUNT = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"


def v2(group, limits, *, mount=V2_MOUNT):
    files = {f"sys/fs/cgroup{path}/cpu.max": text for path, text in limits.items()}
    return {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": mount, **files}


def v1(group, quota_us, *, mount=V1_MOUNTS, folder="sys/fs/cgroup/cpu,cpuacct"):
    return {
        "proc/self/cgroup": f"4:cpu,cpuacct:{group}\n3:memory:{group}\n",
        "proc/self/mountinfo": mount,
        f"{folder}/cpu.cfs_quota_us": quota_us,
        f"{folder}/cpu.cfs_period_us": "100000",
    }


@pytest.mark.parametrize(
    ("files", "affinity", "want"),
    [
        pytest.param({}, 8, 8, id="no-cgroups-at-all"),
        pytest.param(v2("/", {}), 8, 8, id="v2-root-has-no-limit-file"),
        pytest.param(v2("/", {"": "max 100000\n"}), 8, 8, id="v2-max"),
        pytest.param(v2("/", {"": "200000 100000\n"}), 8, 2, id="v2-two-cores"),
        pytest.param(v2("/", {"": "150000 100000\n"}), 8, 1, id="v2-one-and-a-half-counts-one"),
        pytest.param(v2("/", {"": "50000 100000\n"}), 8, 1, id="v2-half-a-core-is-still-one-thread"),
        pytest.param(v2("/", {"": "400000 100000\n"}), 2, 2, id="affinity-is-tighter"),
        pytest.param(v2("/a/b", {"/a": "300000 100000", "/a/b": "max 100000"}), 8, 3, id="v2-parent-is-tighter"),
        pytest.param(v2("/a/b", {"/a": "300000 100000", "/a/b": "200000 100000"}), 8, 2, id="v2-nested"),
        pytest.param(v2("/host/only", {"": "200000 100000"}), 8, 2, id="v2-path-of-the-host-namespace"),
        pytest.param(v2("/", {"": "garbage\n"}), 8, 8, id="v2-garbage"),
        pytest.param(v1("/", "-1\n"), 8, 8, id="v1-unlimited"),
        pytest.param(v1("/", "250000\n"), 8, 2, id="v1-two-and-a-half"),
        pytest.param(
            v1("/docker/abc", "200000", mount=DOCKER_V1_MOUNT, folder="sys/fs/cgroup/cpu"), 8, 2, id="v1-docker-subtree"
        ),
        pytest.param({"sys/fs/cgroup/cpu.max": "200000 100000"}, 8, 2, id="v2-without-proc"),
    ],
)
def test_usable_cores(tmp_path, files, affinity, want):
    assert usable_cores(plant(tmp_path, files), affinity) == want


def test_cpu_quota_keeps_the_fraction(tmp_path):
    assert cpu_quota(plant(tmp_path, v2("/", {"": "150000 100000"}))) == 1.5


def test_usable_cores_of_this_process():
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("files", "want"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({**v2("/a", {}), "sys/fs/cgroup/a/memory.max": "max\n"}, None, id="v2-max"),
        pytest.param(
            {**v2("/a/b", {}), "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.max": "2000\n"},
            1000,
            id="v2-parent-is-tighter",
        ),
        pytest.param(
            {**v1("/", "-1"), "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
            None,
            id="v1-unlimited",
        ),
        pytest.param({**v1("/", "-1"), "sys/fs/cgroup/memory/memory.limit_in_bytes": "512\n"}, 512, id="v1"),
    ],
)
def test_memory_limit(tmp_path, files, want):
    assert memory_limit_bytes(plant(tmp_path, files)) == want


XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8480C
flags\t\t: fpu avx2 fma avx512f avx512_vnni avx512_bf16 amx_tile amx_int8 avx512_fp16
processor\t: 1
model name\t: Intel(R) Xeon(R) Platinum 8480C
flags\t\t: fpu avx2 fma avx512f avx512_vnni avx512_bf16 amx_tile amx_int8 avx512_fp16
"""
PI5 = "".join(
    f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp\n"
    "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"
    for core in range(4)
)
PI4 = PI5.replace("0xd0b", "0xd08").replace(" asimdhp asimddp", "")
ORIN = PI5.replace("0xd0b", "0xd42")


@pytest.mark.parametrize(
    ("cpuinfo", "model", "isa"),
    [
        pytest.param(
            XEON,
            "Intel(R) Xeon(R) Platinum 8480C",
            ("AVX2", "FMA", "AVX512F", "VNNI", "BF16", "AMX", "FP16"),
            id="sapphire-rapids",
        ),
        pytest.param("model name\t: i5\nflags\t: avx2 avx_vnni\n", "i5", ("AVX2", "VNNI"), id="vnni-without-avx512"),
        pytest.param(PI5, "4x Cortex-A76", ("NEON", "FP16", "DOTPROD"), id="raspberry-pi-5"),
        pytest.param(PI4, "4x Cortex-A72", ("NEON",), id="raspberry-pi-4-has-no-dot-product"),
        pytest.param(
            "CPU part\t: 0xfff\nFeatures\t: neon\nHardware\t: BCM2835\n", "BCM2835", ("NEON",), id="unknown-arm"
        ),
        pytest.param("", "", (), id="empty"),
    ],
)
def test_cpu(tmp_path, cpuinfo, model, isa):
    profile = detect(plant(tmp_path, {"proc/cpuinfo": cpuinfo}), affinity=4, system="Linux")
    assert (profile.cpu_model, profile.isa) == (model, isa)


def test_raspberry_pi_with_a_coral_stick(tmp_path):
    plant(
        tmp_path,
        {
            "proc/cpuinfo": PI5,
            "proc/meminfo": "MemTotal:        8245456 kB\nMemFree: 1 kB\n",
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "sys/bus/usb/devices/2-1/idVendor": "18d1\n",
            "sys/bus/usb/devices/2-1/idProduct": "9302\n",
            "sys/bus/usb/devices/1-1/idVendor": "046d\n",
            "sys/bus/usb/devices/1-1/idProduct": "c31c\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "61250\n",
            "sys/class/thermal/thermal_zone1/temp": "-274000\n",
        },
    )
    profile = detect(tmp_path, affinity=4, system="Linux")
    assert profile.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert profile.logical_cores == 4
    assert profile.memory_bytes == 8245456 * 1024
    assert profile.accelerators == ("Coral Edge TPU (USB)",)
    assert (profile.hottest_c, profile.thermal[0].name) == (61.25, "cpu-thermal")
    assert profile.gpus == ()
    assert profile.has("DOTPROD")
    assert "no GPU" in profile.describe()
    json.dumps(profile.as_dict())


def test_jetson(tmp_path):
    plant(
        tmp_path,
        {
            "proc/cpuinfo": ORIN,
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "dev/nvhost-gpu": "",
        },
    )
    profile = detect(tmp_path, affinity=6, system="Linux")
    assert profile.cpu_model == "4x Cortex-A78AE"
    assert [gpu.name for gpu in profile.gpus] == ["Jetson integrated GPU"]


@pytest.mark.parametrize(
    ("files", "gpus"),
    [
        pytest.param(
            {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nIRQ: 1\n", "dev/nvidia0": ""},
            ["NVIDIA L4"],
            id="driver-names-it",
        ),
        pytest.param({"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": ""}, ["NVIDIA GPU"] * 2, id="container"),
        pytest.param({"sys/class/drm/card0/device/vendor": "0x8086\n"}, ["Intel GPU"], id="intel"),
    ],
)
def test_gpus(tmp_path, files, gpus):
    assert [gpu.name for gpu in detect(plant(tmp_path, files), system="Linux").gpus] == gpus


def test_accelerators(tmp_path):
    plant(
        tmp_path,
        {
            "dev/apex_0": "",
            "dev/hailo0": "",
            "sys/class/accel/accel0/device/uevent": "DRIVER=intel_vpu\nPCI_CLASS=120000\n",
            "sys/class/accel/accel1/device/uevent": "",
            "sys/bus/usb/devices/1-2/idVendor": "03e7",
            "sys/bus/usb/devices/1-2/idProduct": "2485",
        },
    )
    assert detect(tmp_path, system="Linux").accelerators == (
        "Coral Edge TPU (PCIe)",
        "Hailo",
        "Intel NPU",
        "Intel Neural Compute Stick 2 (Myriad X)",
        "accelerator (driver unknown)",
    )


def test_macos_asks_sysctl(tmp_path):
    answers = {
        "machdep.cpu.brand_string": "Apple M2",
        "hw.optional.neon": "1",
        "hw.optional.arm.FEAT_DotProd": "1",
        "hw.optional.arm.FEAT_I8MM": "1",
        "hw.optional.avx2_0": "0",
        "hw.logicalcpu": "8",
        "hw.memsize": "17179869184",
    }
    profile = detect(tmp_path, affinity=8, system="Darwin", sysctl=answers.get)
    assert (profile.cpu_model, profile.isa) == ("Apple M2", ("NEON", "DOTPROD", "I8MM"))
    assert (profile.logical_cores, profile.memory_bytes) == (8, 2**34)


def test_an_empty_root_is_described_without_an_error(tmp_path):
    profile = detect(tmp_path, affinity=1, system="Darwin", sysctl=lambda name: None)
    assert (profile.cpu_model, profile.isa, profile.memory_bytes, profile.hottest_c) == ("", (), None, None)
    assert "ISA unknown" in profile.describe()


def test_detecting_this_machine_is_quick():
    start = time.perf_counter()
    profile = detect()
    assert time.perf_counter() - start < 2.0  # a few milliseconds; the bar only catches a driver being woken
    assert profile.usable_cores >= 1


def test_detecting_imports_no_framework():
    code = (
        "import sys; from solutions.core.hardware.profile import detect; detect();"
        "sys.exit(bool({'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
