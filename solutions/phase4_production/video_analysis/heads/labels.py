"""The class names that detectors are published with."""

from __future__ import annotations

from solutions.core.vision.scenes import CLASSES

COCO_80 = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's 80 classes in the order YOLO models use."""

_COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})  # ids of the COCO paper that never got a picture


def _with_gaps() -> tuple[str, ...]:
    names = iter(COCO_80)
    return ("__background__", *("N/A" if number in _COCO_GAPS else next(names) for number in range(1, 91)))


COCO_91 = _with_gaps()
"""The same by their ids in COCO's files, 0 being the background, as torchvision's detectors give them."""

STREET = CLASSES
"""The classes of the embedded detectors."""
