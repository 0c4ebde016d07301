import io

import numpy as np
import pytest

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.mot import read_detections, read_results, read_seqinfo, read_truth, write_results
from solutions.core.vision.tracks import Tracks

TRUTH = "3,7,10,20,30,40,1,2,0.5\n1,7,10,20,30,40,0,2,1.0\n\n3,8,0.5,0,1,1,1,-1,-1,-1\n"


@pytest.fixture
def write(tmp_path):
    def text(content, name="gt.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return text


def test_truth_comes_by_frame_and_conf_0_is_kept_as_score_0(write):
    frames = read_truth(write(TRUTH))
    assert [one.ids.tolist() for one in frames] == [[7], [], [7, 8]]
    assert frames[0].scores.tolist() == [0]
    np.testing.assert_array_equal(frames[2].boxes, np.float32([[10, 20, 40, 60], [0.5, 0, 1.5, 1]]))
    assert frames[2].class_ids.tolist() == [2, -1]


@pytest.mark.parametrize(("frames", "want"), [(0, []), (2, [1, 0]), (5, [1, 0, 2, 0, 0])])
def test_the_number_of_frames_can_be_set(write, frames, want):
    assert [len(one) for one in read_truth(write(TRUTH), frames=frames)] == want


def test_an_empty_file_is_no_error(write):
    assert read_truth(write("")) == []
    assert [len(one) for one in read_detections(write(""), frames=2)] == [0, 0]


def test_detections_get_one_class(write):
    detections = read_detections(write("1,-1,1,2,3,4,0.25\n1,-1,1,2,3,4,0.5,-1,-1,-1\n"), class_id=3)
    assert detections[0].scores.tolist() == [0.25, 0.5]
    assert detections[0].class_ids.tolist() == [3, 3]


def test_what_is_written_is_read_again(tmp_path):
    boxes = np.float32([[1.5, 2.25, 11.5, 22.25], [-3, 0, 4, 5]])
    results = [Tracks.empty(), Tracks(np.array([2, 1]), boxes, np.float32([0.5, 1]), np.array([0, 0]))]
    assert write_results(tmp_path / "out.txt", results) == 2
    again = read_results(tmp_path / "out.txt")
    assert [len(one) for one in again] == [0, 2]
    np.testing.assert_array_equal(again[1].boxes, boxes)
    assert again[1].ids.tolist() == [2, 1]


def test_rows_have_the_ten_columns_of_the_benchmark():
    handle = io.StringIO()
    write_results(handle, [Tracks(np.array([9]), np.float32([[1, 2, 4, 6]]), np.float32([0.5]), np.array([0]))])
    assert handle.getvalue() == "1,9,1.000,2.000,3.000,4.000,0.5000,-1,-1,-1\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("1,1,0,0,5,5,1\n2,1,zero,0,5,5,1\n", r"line 2 holds something that is not a number", id="word"),
        pytest.param("1,1,0,0,5\n", r"line 1 has 5 columns", id="short"),
        pytest.param("1,1,0,0,5,nan,1\n", r"line 1 holds NaN", id="nan"),
        pytest.param("0,1,0,0,5,5,1\n", r"names frame 0", id="frame-zero"),
        pytest.param("1.5,1,0,0,5,5,1\n", r"names frame 1.5", id="half-a-frame"),
        pytest.param("1e12,1,0,0,5,5,1\n", r"names frame 1e\+12", id="absurd-frame"),
        pytest.param(b"\xff\xfe\x00", r"cannot be read", id="not-text"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(write, content, complaint):
    with pytest.raises(VideoError, match=complaint) as caught:
        read_truth(write(content))
    assert "gt.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_say_so(tmp_path):
    with pytest.raises(VideoError, match="No such file"):
        read_truth(tmp_path / "none.txt")
    with pytest.raises(VideoError, match="cannot be written"):
        write_results(tmp_path / "none" / "out.txt", [])
    with pytest.raises(ConfigError, match="frames"):
        read_truth(_empty(tmp_path), frames=-1)


def _empty(tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("")
    return path


def test_seqinfo(write):
    path = write("[Sequence]\nname=A\nframeRate=25\nseqLength=71\nimWidth=640\nimHeight=480\n", "seqinfo.ini")
    info = read_seqinfo(path)
    assert (info.name, info.frames, info.fps, info.size_hw) == ("A", 71, 25.0, (480, 640))


@pytest.mark.parametrize("content", ["", "[Sequence]\nname=A\n", "[Sequence]\nname=A\nimHeight=x\nimWidth=1\n"])
def test_a_damaged_seqinfo_is_one_sentence(write, content):
    with pytest.raises(VideoError, match=r"seqinfo.ini is not a seqinfo.ini") as caught:
        read_seqinfo(write(content, "seqinfo.ini"))
    assert "\n" not in str(caught.value)
