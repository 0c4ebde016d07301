"""Exercises 1.1 to 1.4 solved: from a file and a picture to the names of what the picture shows.

    python solutions/phase1_basics/template_solutions/model_loader.py --model resnet50.pth --image cat.jpg

The same file as `phase1_basics/template_model_loader.py`, filled in. The full versions, all behind `model_loader.py`:
`runtimes/content.py` (1.1), and in `prediction/` `preprocessing.py` with `resizing.py` (1.2), `postprocessing.py` (1.3)
and `batching.py` (1.4).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from solutions.core.classroom.models import model_file, open_classifier, read_pictures
from solutions.core.classroom.start import run_template
from solutions.core.classroom.values import Recipe
from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_OK


def recognise_format(path: Path) -> str:
    """Name of the format that the first bytes of a file show; the first row that fits decides.

        "safetensors"   bytes 7 and 8 are 00 and "{": the length of a JSON header (8 bytes), then the header
        "tflite"        bytes 4 to 7 are "TFL3"
        "torch"         starts with "PK", 03, 04: torch.save writes a zip
        "hdf5"          starts with 89 (hex), "HDF": Keras .h5
        "onnx"          byte 0 is 08 (field 1 of a protobuf), byte 1 is the IR version, 1 to 30
        "unknown"       anything else

    Checked: the content decides and never the suffix; the order of the rows holds; an empty or very short file is
    "unknown"; a large file is not read whole.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if head[7:9] == b"\x00{":
        return "safetensors"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.startswith(b"PK\x03\x04"):
        return "torch"
    if head.startswith(b"\x89HDF"):
        return "hdf5"
    if len(head) > 1 and head[0] == 8 and 1 <= head[1] <= 30:
        return "onnx"
    return "unknown"


def preprocess(picture: np.ndarray, recipe: Recipe) -> np.ndarray:
    """What the model was trained to see of a picture (uint8 [H, W, 3] BGR): float32 [1, 3, h, w], C-contiguous, RGB.

    In this order: bring the shorter side to `recipe.shorter_side` (the longer one in proportion, rounded down) with
    Pillow's bilinear filter, which smooths while it shrinks; cut `recipe.crop_hw` out of the middle, the corner at
    round((size - crop) / 2); values to 0..1; minus mean, over std, per channel.

    Checked: each of these against torchvision's own transforms; upright, wide, square and tiny pictures; a picture that
    is a view; the picture itself stays as it was.
    """
    height, width = picture.shape[:2]
    short = recipe.shorter_side
    scaled_wh = (short * width // height, short) if height <= width else (short, short * height // width)
    rgb = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    scaled = np.asarray(rgb.resize(scaled_wh, Image.Resampling.BILINEAR))
    crop_h, crop_w = recipe.crop_hw
    top, left = round((scaled.shape[0] - crop_h) / 2), round((scaled.shape[1] - crop_w) / 2)
    values = scaled[top : top + crop_h, left : left + crop_w].astype(np.float32) / 255
    normalised = (values - np.array(recipe.mean, np.float32)) / np.array(recipe.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def best_classes(logits: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    """For each row of logits [N, K] its k best classes as (class, probability), best first; all of them if k > K.

    The probability is the softmax over the row, computed in float32 or better. Of equal scores the lower class comes
    first.

    Checked: logits of 1000 and -inf do not become NaN; float16 logits lose nothing; ties; k > K; no rows at all;
    k < 1 raises ValueError.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if not len(logits):
        return []
    real = logits.astype(np.float64)
    powers = np.exp(real - real.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    order = np.argsort(-real, axis=1, kind="stable")[:, :k]
    return [[(int(i), float(row[i])) for i in best] for row, best in zip(probabilities, order, strict=True)]


def predict_all(predict: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, batch: int) -> np.ndarray:
    """The answers [N, ...] to all rows [N, ...] from a model that takes exactly `batch` rows a call, in order.

    The last call is filled up with copies of the last row, and the answers to the filling are thrown away.

    Checked: ceil(N / batch) calls and not one more, each with `batch` rows; the filling is made of real rows; a runtime
    may hand out the same array at every call and overwrite it at the next; no rows, or batch < 1, raise ValueError.
    """
    if batch < 1 or not len(rows):
        raise ValueError(f"at least one row and a batch of at least 1 are needed, got {len(rows)} and {batch}")
    answers = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        filling = np.repeat(part[-1:], batch - len(part), axis=0)
        answers.append(predict(np.concatenate([part, filling]))[: len(part)].copy())
    return np.concatenate(answers)


# Given: the script around the exercises.


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Load a classifier and name what is on pictures.")
    parser.add_argument("--model", required=True, metavar="FILE", help="a torch state dict (.pth) or an ONNX file")
    parser.add_argument("--image", nargs="+", default=[], metavar="FILE", help="pictures (default: a made-up one)")
    parser.add_argument("--arch", help="torchvision's name of the network (default: the file's name)")
    parser.add_argument(
        "--batch", type=int, default=4, help="rows per call where the model leaves it open (default: 4)"
    )
    parser.add_argument("--top", type=int, default=5, help="classes per picture (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Recognise, open, preprocess, predict, print."""
    args = parse_args(argv)
    if args.batch < 1 or args.top < 1:
        raise ConfigError(f"--batch and --top must be at least 1, got {args.batch} and {args.top}")
    path = model_file(args.model)
    kind = recognise_format(path)
    print(f"{path}: {kind}")
    model = open_classifier(path, kind, args.arch)
    pictures = read_pictures(args.image)
    rows = np.concatenate([preprocess(picture, Recipe()) for picture in pictures])
    logits = predict_all(model.predict, rows, model.batch or args.batch)
    for name, found in zip(args.image or ["a made-up picture"], best_classes(logits, args.top), strict=True):
        print(name)
        for index, probability in found:
            print(f"  {probability:8.4f}  {model.label(index)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run_template(main))
