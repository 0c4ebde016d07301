"""The 2:4 pattern: of every four weights along the input axis at most two are not zero.

NVIDIA's tensor cores of compute capability 8.0 and newer skip the zeros of this pattern: they read the two values and
two bits per value that say where they stood, and multiply-accumulate at twice the dense rate (Mishra et al. 2021,
"Accelerating Sparse Deep Neural Networks"; for 16-bit and 8-bit values, while TF32 wants 1 of 2). Groups run along the
input channels of a convolution at each kernel position, and along the inputs of a linear layer. The patterns made here
were not run on such a GPU. On a CPU the zeros are multiplied like all other numbers and nothing is gained; what the
packed form saves anywhere is bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.compression.magnitude import Masks

GROUP, KEEP = 4, 2
Array = npt.NDArray[Any]


def two_four_mask(weight: Array, *, axis: int = 1) -> npt.NDArray[np.bool_]:
    """True for the two largest magnitudes of each four along `axis`; among equals the first.

    Raises:
        ConfigError: the length of the axis is no multiple of 4.

    >>> two_four_mask(np.array([[0.1, -3.0, 2.0, 0.5]])).tolist()
    [[False, True, True, False]]
    """
    groups = _grouped(weight, axis)
    order = np.argsort(-np.abs(groups), axis=-1, kind="stable")
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, order[..., :KEEP], True, axis=-1)
    return _ungrouped(mask, weight.shape, axis)


def two_four_masks(weights: Mapping[str, Array], *, axis: int = 1) -> Masks:
    """Masks of all weights whose input axis can be cut into fours; the others (a first layer of 3 channels, depthwise
    convolutions) stay dense and are left out.
    """
    fitting = {
        name: weight for name, weight in weights.items() if weight.ndim > axis and not weight.shape[axis] % GROUP
    }
    return {name: two_four_mask(weight, axis=axis) for name, weight in fitting.items()}


def is_two_four(weight: Array, *, axis: int = 1) -> bool:
    """Whether no four along `axis` hold more than two values that are not zero."""
    return weight.shape[axis] % GROUP == 0 and bool((np.count_nonzero(_grouped(weight, axis), axis=-1) <= KEEP).all())


@dataclass(frozen=True, slots=True)
class Packed:
    """A 2:4 weight without its zeros.

    Attributes:
        values: [groups, 2] in the weight's dtype, in the order in which they stood.
        places: uint8 [ceil(groups / 2)]: 2 bits for each value, the first group in the low four bits.
        shape: of the dense weight.
        axis: along which the groups run.
    """

    values: Array
    places: npt.NDArray[np.uint8]
    shape: tuple[int, ...]
    axis: int

    def __post_init__(self) -> None:
        groups = int(np.prod(self.shape)) // GROUP
        if self.values.shape != (groups, KEEP) or self.places.shape != (-(-groups // 2),):
            raise ConfigError(
                f"a weight of {self.shape} has {groups} groups: values [{groups}, 2] and {-(-groups // 2)} bytes of "
                f"places are wanted, got {self.values.shape} and {self.places.shape}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of values and places: 9/16 of a dense 16-bit weight, 17/32 of a 32-bit one, 5/8 of an 8-bit one."""
        return self.values.nbytes + self.places.nbytes


def pack(weight: Array, *, axis: int = 1) -> Packed:
    """The packed form; `unpack` gives the same weight, bit for bit but for the sign of zeros.

    Raises:
        ConfigError: the weight does not have the pattern.
    """
    if not is_two_four(weight, axis=axis):
        raise ConfigError("the weight is not 2:4: multiply it with two_four_mask first")
    groups = _grouped(weight, axis).reshape(-1, GROUP)
    # A group with fewer than two values keeps a zero, so that every group has two places that differ.
    order = np.sort(np.argsort(groups == 0, axis=-1, kind="stable")[:, :KEEP], axis=-1)
    nibbles = (order[:, 0] | order[:, 1] << 2).astype(np.uint8)
    nibbles = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
    return Packed(
        np.take_along_axis(groups, order, axis=-1),
        (nibbles[::2] | nibbles[1::2] << 4).astype(np.uint8),
        weight.shape,
        axis,
    )


def unpack(packed: Packed) -> Array:
    """The dense weight."""
    groups = len(packed.values)
    nibbles = np.stack((packed.places & 15, packed.places >> 4), axis=1).ravel()[:groups]
    places = np.stack((nibbles & 3, nibbles >> 2), axis=1).astype(np.int64)
    dense = np.zeros((groups, GROUP), packed.values.dtype)
    np.put_along_axis(dense, places, packed.values, axis=-1)
    return _ungrouped(dense, packed.shape, packed.axis)


def _grouped(weight: Array, axis: int) -> Array:
    """[..., groups, 4] with the input axis last."""
    if weight.shape[axis] % GROUP:
        raise ConfigError(f"axis {axis} of {weight.shape} cannot be cut into fours: leave this layer dense")
    moved = np.moveaxis(weight, axis, -1)
    return moved.reshape(*moved.shape[:-1], -1, GROUP)


def _ungrouped(groups: Array, shape: tuple[int, ...], axis: int) -> Array:
    moved = np.moveaxis(np.empty(shape, bool), axis, -1).shape
    return np.ascontiguousarray(np.moveaxis(groups.reshape(moved), -1, axis))
