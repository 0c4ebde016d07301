"""Which channels must live or die together: labels that travel with activations, and the ties between them.

Every channel that a layer makes gets a number, its label. Activations carry the labels of their channels through the
network; where two of them meet (a residual sum, a product with a gate) their labels are tied. Every axis of a weight
that has to shrink with a channel is bound to that channel's label. At the end labels that are tied make one unit, and a
unit is removed from all the weights that it is bound to, or from none (the dependency graph of Fang et al. 2023,
"DepGraph", told channel by channel).

Label 0 stands for what must stay: network inputs and outputs, and whatever an operator does not let be followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

FIXED = 0
Ints = npt.NDArray[np.int64]
Axis = tuple[str, int]
"""A parameter's name and one of its axes."""


@dataclass(frozen=True, slots=True)
class Marked:
    """An activation: its shape, and the label of each element, kept in an array that broadcasts to that shape and is
    longer than 1 only along the axes on which labels differ.
    """

    shape: tuple[int, ...]
    labels: Ints

    @property
    def varying(self) -> tuple[int, ...]:
        """The axes along which labels differ."""
        return tuple(axis for axis, size in enumerate(self.labels.shape) if size > 1)


def marked(shape: Sequence[int], labels: Ints) -> Marked:
    """An activation with these labels, given in any array of its rank that broadcasts to `shape`."""
    for axis, size in enumerate(labels.shape):
        first = labels.take([0], axis)
        if size > 1 and (labels == first).all():
            labels = first
    return Marked(tuple(shape), labels)


def fixed(shape: Sequence[int]) -> Marked:
    """An activation that nothing may be removed from."""
    return Marked(tuple(shape), np.zeros((1,) * len(shape), np.int64))


def spread(shape: Sequence[int], axis: int, labels: Ints) -> Marked:
    """An activation whose labels differ along one axis only."""
    place = [1] * len(shape)
    place[axis] = -1
    return marked(shape, labels.reshape(place))


class Ledger:
    """Labels, ties and bindings of one network, filled in by whoever walks through it.

    Attributes:
        bindings: for each axis of a parameter that may shrink, the label of each index.
        makers: the axes that make channels: output axes of the weights of convolutions and linear layers.
        norms: the scales of normalisations, which tell how much a channel is used.
    """

    def __init__(self) -> None:
        self.bindings: dict[Axis, Ints] = {}
        self.makers: set[Axis] = set()
        self.norms: set[Axis] = set()
        self._ties: list[Ints] = []
        self._labels = 1

    def fresh(self, count: int) -> Ints:
        """`count` new labels."""
        first, self._labels = self._labels, self._labels + count
        return np.arange(first, self._labels)

    def tie(self, a: Ints, b: Ints) -> None:
        """Labels of `a` and `b`, which broadcast against each other, go together pair by pair."""
        pairs = np.stack(np.broadcast_arrays(a, b)).reshape(2, -1)
        self._ties.append(np.unique(pairs[:, pairs[0] != pairs[1]], axis=1))

    def fix(self, *activations: Marked) -> None:
        """Nothing may be removed from these."""
        for each in activations:
            self.tie(each.labels, np.array(FIXED))

    def bind(self, name: str, axis: int, labels: Ints) -> None:
        """Index i of this axis of the parameter goes with `labels[i]`; a parameter used twice ties both uses."""
        known = self.bindings.setdefault((name, axis), labels)
        if known is not labels:
            self.tie(known, labels)

    def along(self, x: Marked, axis: int) -> Ints:
        """The labels along one axis; an activation whose labels differ along another as well is fixed."""
        axis %= len(x.shape)
        if set(x.varying) - {axis}:
            self.fix(x)
            return np.zeros(x.shape[axis], np.int64)
        return np.broadcast_to(x.labels.reshape(-1), (x.shape[axis],))

    def units(self) -> Ints:
        """The unit of each label, counted from 0; unit 0 holds label 0, and stays."""
        ties = np.concatenate([np.zeros((2, 0), np.int64), *self._ties], axis=1)
        graph = coo_matrix((np.ones(ties.shape[1], bool), (ties[0], ties[1])), shape=(self._labels, self._labels))
        count, units = connected_components(graph, directed=False)
        turned: Ints = (np.asarray(units, np.int64) - int(units[FIXED])) % count  # so that label 0 is in unit 0
        return turned

    # -- what operators do -------------------------------------------------------------------------------------------

    def convolve(
        self, x: Marked, out_shape: Sequence[int], weight: str, bias: str | None, *, groups: int = 1
    ) -> Marked:
        """Convolution with weight [out, in / groups, ...] along axis 1. A group's inputs and outputs are one unit: it
        can go as a whole, which for a depthwise convolution is one channel.
        """
        inputs = self.along(x, 1)
        outputs = self.fresh(out_shape[1])
        self.makers.add((weight, 0))
        self.bind(weight, 0, outputs)
        if bias:
            self.bind(bias, 0, outputs)
        if groups == 1:
            self.bind(weight, 1, inputs)
        else:
            rows = np.concatenate((inputs.reshape(groups, -1), outputs.reshape(groups, -1)), axis=1)
            self.tie(rows, rows[:, :1])
        return spread(out_shape, 1, self.bindings[weight, 0])

    def multiply(self, x: Marked, out_shape: Sequence[int], weight: str, bias: str | None) -> Marked:
        """Linear layer with weight [out, in] along the last axis."""
        inputs = self.along(x, -1)
        outputs = self.fresh(out_shape[-1])
        self.makers.add((weight, 0))
        self.bind(weight, 0, outputs)
        self.bind(weight, 1, inputs)
        if bias:
            self.bind(bias, 0, outputs)
        return spread(out_shape, len(out_shape) - 1, self.bindings[weight, 0])

    def per_channel(self, x: Marked, *parameters: str, axis: int = 1) -> Marked:
        """Something with one value of each parameter [C] for each channel, such as BatchNorm."""
        labels = self.along(x, axis)
        for name in parameters:
            self.bind(name, 0, labels)
        return spread(x.shape, axis, labels)

    def combine(self, out_shape: Sequence[int], *inputs: Marked) -> Marked:
        """Elementwise operation with broadcasting: elements that meet go together.

        An input that is stretched along an axis on which another's channels differ belongs to all of these channels,
        hence to none: it stays.
        """
        rank = len(out_shape)
        free = []
        for x in inputs:
            lead = rank - len(x.shape)
            labels = x.labels.reshape((1,) * lead + x.labels.shape)
            wide = {axis for axis in range(rank) if axis < lead or x.shape[axis - lead] < out_shape[axis]}
            differ = {axis + rank - len(other.shape) for other in inputs if other is not x for axis in other.varying}
            if wide & differ:
                self.fix(x)
            else:
                free.append(labels)
        if not free:
            return fixed(out_shape)
        for labels in free[1:]:
            self.tie(free[0], labels)
        shape = np.broadcast_shapes(*(labels.shape for labels in free))
        return marked(out_shape, np.broadcast_to(free[0], shape))

    def join(self, inputs: Sequence[Marked], axis: int) -> Marked:
        """Concatenation: consumers see the channels of the first input, then those of the second."""
        axis %= len(inputs[0].shape)
        whole = np.broadcast_shapes(*(x.labels.take([0], axis).shape for x in inputs))
        parts = [np.broadcast_to(x.labels, (*whole[:axis], x.shape[axis], *whole[axis + 1 :])) for x in inputs]
        shape = list(inputs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in inputs)
        return marked(shape, np.concatenate(parts, axis))

    def resample(self, x: Marked, out_shape: Sequence[int]) -> Marked:
        """Pooling, resizing, padding, reductions that keep their axes: where sizes change, nothing may differ."""
        changed = {axis for axis, size in enumerate(out_shape) if size != x.shape[axis]}
        return self._unless(changed & set(x.varying), x, out_shape)

    def reduce(self, x: Marked, out_shape: Sequence[int], axes: Sequence[int]) -> Marked:
        """Mean, maximum or sum over `axes`, kept with size 1 or dropped: a mean over channels needs all of them."""
        over = {axis % len(x.shape) for axis in axes}
        labels = x.labels
        if len(out_shape) < len(x.shape):
            labels = labels.reshape([size for axis, size in enumerate(labels.shape) if axis not in over or size > 1])
        return self._unless(over & set(x.varying), x, out_shape, labels)

    def reshape(self, x: Marked, out_shape: Sequence[int]) -> Marked:
        """Other axes for the same elements. A channel must stay a slice of one axis, or nothing of it is removed."""
        if not x.varying:
            return Marked(tuple(out_shape), np.broadcast_to(x.labels.reshape(-1)[0], (1,) * len(out_shape)))
        made = marked(out_shape, np.broadcast_to(x.labels, x.shape).reshape(out_shape))
        return self._unless(len(made.varying) > 1, x, out_shape, made.labels)

    def permute(self, x: Marked, order: Sequence[int]) -> Marked:
        """Transposition."""
        return Marked(tuple(x.shape[axis] for axis in order), x.labels.transpose(order))

    def _unless(self, stuck: object, x: Marked, out_shape: Sequence[int], labels: Ints | None = None) -> Marked:
        if stuck:
            self.fix(x)
            return fixed(out_shape)
        return Marked(tuple(out_shape), x.labels if labels is None else labels)
