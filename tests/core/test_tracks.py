import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.core.vision.tracks import Tracks


def three():
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Tracks(np.array([4, 5, 6]), boxes, np.ones(3, np.float32), np.array([0, 1, 0]))


def test_empty_has_the_promised_types():
    nobody = Tracks.empty()
    assert len(nobody) == 0
    assert nobody.ids.dtype == nobody.class_ids.dtype == np.int64
    assert nobody.boxes.dtype == nobody.scores.dtype == np.float32
    assert nobody.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        pytest.param(slice(1, None), [5, 6], id="slice"),
        pytest.param(np.array([2, 0]), [6, 4], id="places"),
        pytest.param(np.array([True, False, True]), [4, 6], id="mask"),
    ],
)
def test_rows(rows, want):
    chosen = three()[rows]
    assert chosen.ids.tolist() == want
    assert len(chosen.boxes) == len(chosen.scores) == len(chosen.class_ids) == len(want)


def test_columns_that_disagree_are_refused():
    with pytest.raises(ConfigError, match=r"\(3,\), \(3, 4\), \(2,\), \(3,\)"):
        Tracks(np.zeros(3, np.int64), np.zeros((3, 4), np.float32), np.zeros(2, np.float32), np.zeros(3, np.int64))
