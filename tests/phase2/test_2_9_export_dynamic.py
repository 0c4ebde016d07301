"""2.9: a torch network as an ONNX file that takes any batch."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.grader.checks import check, check_close, check_equal

pytestmark = [pytest.mark.exercise("2.9"), pytest.mark.timeout(120)]  # the exporter's first import takes its time

EPS = float(torch.finfo(torch.float32).eps)


class Tiny(nn.Module):
    """A convolution, a batch norm, dropout and a head: what differs between training and eval, and a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(4 * 6 * 6, 5)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.norm(self.conv(pictures)))
        return self.head(self.drop(found.flatten(1)))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    made = Tiny()
    made.norm.running_mean.uniform_(-0.5, 0.5)
    made.norm.running_var.uniform_(0.5, 2.0)
    return made


PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_any_batch(graded, model, tmp_path):
    """ONNX Runtime agrees with the network for batches of 1, 2 and 5."""
    path = tmp_path / "net.onnx"
    graded(model.eval(), PICTURE, path)
    check(path.is_file(), breaks="the file is written", expected=str(path))
    check_equal(
        [type(size).__name__ for size in shape_of(path)],
        ["str", "int", "int", "int"],
        breaks="the batch is free and the other sizes are numbers",
        likely="without dynamic_shapes, or with an example batch of 1, the exporter takes the batch for a constant",
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        pictures = torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            want = model(pictures)
        check_close(
            session.run(None, {session.get_inputs()[0].name: pictures.numpy()})[0],
            want,
            # sums of 27 and of 144 products in another order: at most that many roundings of values up to about 4
            (27 + 144) * EPS * 4,
            breaks=f"ONNX Runtime and torch agree for a batch of {batch}",
            likely="the graph was traced in training mode, or it fits one batch only",
        )


def shape_of(path) -> list[str | int]:
    """Sizes of the first input: numbers, or names where they are free."""
    sizes = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    return [size.dim_value if size.HasField("dim_value") else size.dim_param for size in sizes]


def test_training_mode(graded, model, tmp_path):
    """A network in training mode is exported as for inference, and is in training mode afterwards."""
    model.train()
    model.norm.eval()  # frozen, as in fine-tuning
    path = tmp_path / "net.onnx"
    graded(model, PICTURE, path)
    check(path.is_file(), breaks="the file is written", expected=str(path))
    check_equal(model.training, True, breaks="training mode is restored", likely="model.eval() without a way back")
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pictures = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        want = model.eval()(pictures)
    check_equal("Dropout" in kinds, False, breaks="no dropout is left in the graph", likely="exported while training")
    check_close(
        session.run(None, {session.get_inputs()[0].name: pictures.numpy()})[0],
        want,
        (27 + 144) * EPS * 4,
        breaks="the graph computes what the network computes in eval mode",
        likely="exported in training mode",
    )


def test_one_file_with_names(graded, model, tmp_path):
    """Everything is in one file, and its input and output are x and y."""
    path = tmp_path / "alone" / "net.onnx"
    path.parent.mkdir()
    graded(model.eval(), PICTURE, path)
    check_equal(
        sorted(file.name for file in path.parent.iterdir()),
        ["net.onnx"],
        breaks="the weights are in the file itself",
        likely="torch.onnx.export(..., path) writes weights into a second file beside it",
    )
    graph = onnx.load(path).graph
    check_equal(
        ([value.name for value in graph.input], [value.name for value in graph.output]),
        (["x"], ["y"]),
        breaks="the input is x and the output is y",
        likely="the exporter's own names change with the network: set input_names and output_names",
    )
