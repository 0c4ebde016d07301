"""Where pictures come from: files that are missing, and folders."""

import pytest

from solutions.core.errors import ImageError
from solutions.phase1_basics.prediction.image_files import image_paths, read_image


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)


def test_folders_give_their_pictures_by_name(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.png").mkdir()
    assert image_paths([tmp_path, "else.webp"]) == [tmp_path / "a.jpg", tmp_path / "b.PNG", *image_paths(["else.webp"])]
    with pytest.raises(ImageError, match="holds no pictures"):
        image_paths([tmp_path / "d.png"])
