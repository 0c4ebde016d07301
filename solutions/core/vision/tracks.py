"""Boxes that keep an identity from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Tracks:
    """The objects present in one frame of one stream, each under the identity it keeps.

    Attributes:
        ids: int64 [N], each at most once in a frame; 1, 2, 3, ... within a stream when a tracker made them.
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the frame; they may reach beyond its edges.
        scores: float32 [N], 0..1, of the detection seen last.
        class_ids: int64 [N].
    """

    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.ids)
        shapes = (self.ids.shape, self.boxes.shape, self.scores.shape, self.class_ids.shape)
        if shapes != ((count,), (count, 4), (count,), (count,)):
            raise ConfigError(
                "Tracks want ids [N], boxes [N, 4], scores [N], class_ids [N], got " + ", ".join(map(str, shapes))
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: np.ndarray | slice) -> Tracks:
        """The rows chosen by a mask, an index array or a slice."""
        return Tracks(self.ids[rows], self.boxes[rows], self.scores[rows], self.class_ids[rows])

    @staticmethod
    def empty() -> Tracks:
        """Nobody is there.

        >>> len(Tracks.empty())
        0
        """
        return Tracks(
            np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        )
