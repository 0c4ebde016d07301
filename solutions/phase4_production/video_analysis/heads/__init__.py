"""Detection heads by name, and the recognition of the one a model needs."""

from __future__ import annotations

from solutions.phase4_production.video_analysis.heads.base import Head
from solutions.phase4_production.video_analysis.heads.fastestdet import FastestDetHead
from solutions.phase4_production.video_analysis.heads.grid import GridHead
from solutions.phase4_production.video_analysis.heads.recognise import HEADS, make_head, recognise_head
from solutions.phase4_production.video_analysis.heads.ssd import SsdHead
from solutions.phase4_production.video_analysis.heads.yolo import Yolov5Head, Yolov8Head, YoloxDecodedHead, YoloxHead

__all__ = [
    "HEADS",
    "FastestDetHead",
    "GridHead",
    "Head",
    "SsdHead",
    "Yolov5Head",
    "Yolov8Head",
    "YoloxDecodedHead",
    "YoloxHead",
    "make_head",
    "recognise_head",
]
