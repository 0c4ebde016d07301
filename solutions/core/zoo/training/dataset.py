"""Pictures of the synthetic street with their truth, rendered once and kept on disk.

Training seeds start at 0, held-out seeds at `HELD_OUT_SEED`; no seed is ever in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from solutions.core.hardware.profile import usable_cores
from solutions.core.vision import scenes
from solutions.core.vision.images import crop_batch
from solutions.core.vision.letterbox import letterbox

PICTURE_HW = (288, 512)
INPUT_HW = (256, 448)  # what the detectors are made for; they take any multiple of 32
CROP_HW = (48, 48)
HELD_OUT_SEED = 1_000_000
HELD_OUT_IMAGES = 600
INSTANTS_PER_SEED = 10
CROPS_PER_IMAGE = 5
_SIZES_HW = ((360, 640), (360, 640), (720, 1280), (270, 480), (180, 320))


@dataclass(frozen=True, slots=True)
class StreetData:
    """`images` uint8 [K, H, W, 3] BGR; the truth of image k is rows `starts[k]:starts[k + 1]` of the other arrays.

    boxes float32 [R, 4] xyxy in pixels of the image, class_ids int64 [R], ignore bool [R]. Crops of well visible
    actors: `crops` uint8 [Q, 3, 48, 48] with `crop_labels` int64 [Q, 2] (class, colour).
    """

    images: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    ignore: np.ndarray
    crops: np.ndarray
    crop_labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def _recipe_key(first_seed: int, images: int, size_hw: tuple[int, int]) -> str:
    """Hash of everything that decides the pictures: the renderer's sources, this file, and the numbers."""
    digest = hashlib.sha256(f"{first_seed} {images} {size_hw}".encode())
    vision = Path(scenes.__file__).parent
    for source in (Path(__file__), *sorted(vision.glob("scenes.py")), *sorted((vision / "street").glob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def street_data(
    first_seed: int, images: int, size_hw: tuple[int, int], cache: Path, *, progress: Callable[[int], None]
) -> StreetData:
    """`images` pictures from the seeds after `first_seed`, from the cache or rendered now (about 50 ms each).

    `progress` is called with the number of finished pictures.
    """
    folder = cache / f"street-{_recipe_key(first_seed, images, size_hw)}"
    if not (folder / "labels.npz").exists():
        _render(first_seed, images, size_hw, folder, progress)
    labels = np.load(folder / "labels.npz")
    return StreetData(np.load(folder / "images.npy", mmap_mode="r"), **{name: labels[name] for name in labels.files})


def _render(
    first_seed: int, images: int, size_hw: tuple[int, int], folder: Path, progress: Callable[[int], None]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    store = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(images, *size_hw, 3))
    seeds = range((images + INSTANTS_PER_SEED - 1) // INSTANTS_PER_SEED)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("boxes", "class_ids", "ignore", "crops", "crop_labels")}
    starts = [0]
    # Fresh processes: a fork would inherit the locks of torch's and OpenCV's threads.
    with ProcessPoolExecutor(usable_cores(), get_context("spawn")) as pool:
        for seed, (pictures, truths) in zip(
            seeds, pool.map(_render_seed, seeds, repeat(first_seed), repeat(size_hw)), strict=True
        ):
            first = seed * INSTANTS_PER_SEED
            for number, picture, truth in zip(range(first, images), pictures, truths, strict=False):
                store[number] = picture
                starts.append(starts[-1] + len(truth["boxes"]))
                for name, values in rows.items():
                    values.append(truth[name])
                progress(number + 1)
    store.flush()
    arrays = {name: np.concatenate(values) for name, values in rows.items()}
    np.savez(folder / "labels.npz", starts=np.array(starts), **arrays)  # type: ignore[arg-type]


def _render_seed(
    seed: int, first_seed: int, picture_hw: tuple[int, int]
) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """The pictures and truths of one street at several instants."""
    cv2.setNumThreads(1)
    chance = np.random.default_rng((first_seed, seed))
    size_hw = _SIZES_HW[chance.integers(len(_SIZES_HW))]
    scene = scenes.StreetScene(first_seed + seed, size_hw=size_hw, traffic=float(chance.uniform(0.6, 1.6)))
    pictures, truths = [], []
    for _ in range(INSTANTS_PER_SEED):
        scene.advance(float(chance.uniform(4.0, 9.0)))
        pixels, truth = scene.render()
        pixels = _camera(pixels, chance)
        canvas, transform = letterbox(pixels, picture_hw, centre=False)
        ignore = ~scenes.counts(truth, size_hw)
        rows = chance.permutation(np.flatnonzero((truth.visible >= 0.5) & ~ignore))[:CROPS_PER_IMAGE]
        pictures.append(canvas)
        truths.append(
            {
                "boxes": transform.to_canvas(truth.boxes),
                "class_ids": truth.class_ids,
                "ignore": ignore,
                "crops": crop_batch(pixels, _jitter(truth.boxes[rows], chance), CROP_HW),
                "crop_labels": np.stack((truth.class_ids[rows], truth.colour_ids[rows]), 1),
            }
        )
    return pictures, truths


def _camera(pixels: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Half of the pictures pass through JPEG, as a stand-in for what video compression leaves of them."""
    if chance.random() < 0.5:
        return pixels
    quality = int(chance.integers(35, 95))
    _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))


def _jitter(boxes: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Boxes moved by a few percent of their size, since a detector's boxes are never exact."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved: np.ndarray = boxes + size * chance.normal(0, 0.04, boxes.shape).astype(np.float32)
    return moved
