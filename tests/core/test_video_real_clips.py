"""Real footage, where the environment variable MLI_DATA names a folder that holds videos/."""

import os
from pathlib import Path

import pytest

from solutions.core.vision.video import open_source


@pytest.mark.parametrize(
    ("name", "codec", "size_hw", "fps", "count"),
    [
        ("vtest.avi", "msmpeg4v3", (576, 768), 10, 795),
        ("TUD-Campus.mp4", "mpeg4", (480, 640), 25, 71),
        ("car-detection.mp4", "h264", (432, 768), 12.5, 377),
    ],
)
def test_every_frame_of_a_real_clip(name, codec, size_hw, fps, count):
    folder = os.environ.get("MLI_DATA")
    if folder is None or not (path := Path(folder, "videos", name)).exists():
        pytest.skip(f"not run here: MLI_DATA does not lead to videos/{name}")
    with open_source(str(path), size_hw=(192, 320)) as source:
        times = [frame.pts_s for frame in source]
    with open_source(str(path)) as source:
        assert next(source).size_hw == size_hw
    assert (source.info.codec, source.info.size_hw, source.info.fps) == (codec, size_hw, fps)
    assert times == pytest.approx([n / fps for n in range(count)], abs=0.01)
