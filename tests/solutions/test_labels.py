"""Names of classes: from files as people keep them, and never one off without a word."""

import pytest

from solutions.core.errors import ConfigError
from solutions.phase1_basics.prediction.labels import check_label_count, labels_of, read_labels
from tests.solutions.stub_models import StubModel


@pytest.mark.parametrize(
    ("content", "want"),
    [
        pytest.param("cat\ndog\n", ("cat", "dog"), id="plain"),
        pytest.param("cat\r\ndog", ("cat", "dog"), id="windows-and-no-last-newline"),
        pytest.param("\ufeffcat\ndog\n\n\n", ("cat", "dog"), id="byte-order-mark-and-empty-end"),
        pytest.param("n01440764 tench, carp\nn01443537 goldfish", ("tench, carp", "goldfish"), id="synset"),
        pytest.param("n01440764\tKatze\nHündin", ("Katze", "Hündin"), id="some-synsets-and-umlauts"),
        pytest.param("0  background\n1  tench\n2: shark", ("background", "tench", "shark"), id="numbered"),
        pytest.param("2 doors\n4 doors", ("2 doors", "4 doors"), id="numbers-that-are-names"),
        pytest.param("cat\n\ndog", ("cat", "", "dog"), id="a-hole-keeps-its-place"),
        pytest.param("0\n1\n2", ("0", "1", "2"), id="digits-are-names"),
    ],
)
def test_files(tmp_path, content, want):
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode())
    assert read_labels(path) == want


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xd8\xff\xe0 picture", b"\0\0\0"])
def test_what_is_no_list(tmp_path, content):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no list of labels"):
        read_labels(path)


def test_missing_and_folder(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_labels(path)


def test_metadata():
    assert labels_of(StubModel([], [], metadata={"labels": "cat,dog; hound"})) == ("cat", "dog; hound")
    assert labels_of(StubModel([], [])) == ()


def test_counts():
    check_label_count((), 1000, "m")
    check_label_count(("a", "b"), 2, "m")
    with pytest.raises(ConfigError, match=r"m knows 1001 classes and there are 1000 labels\. .*missing 'background'"):
        check_label_count(("a",) * 1000, 1001, "m")
    with pytest.raises(ConfigError, match="does not have"):
        check_label_count(("a",) * 1001, 1000, "m")
    with pytest.raises(ConfigError, match=r"there are 7 labels\.$"):
        check_label_count(("a",) * 7, 1000, "m")
