"""Optimisation profiles: between which sizes an engine must work, and for which it is tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solutions.core.errors import ConfigError
from solutions.core.tensors import TensorSpec

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """The shapes of one input: the engine works from `smallest` to `largest` and is tuned for `usual`.

    A wide range costs memory (sized for the largest) and some speed; several narrow profiles cost a larger engine.
    """

    smallest: Shape
    usual: Shape
    largest: Shape

    def __post_init__(self) -> None:
        shapes = (self.smallest, self.usual, self.largest)
        if len({len(shape) for shape in shapes}) != 1:
            raise ConfigError(f"the shapes of a profile must have as many axes each, got {self.describe()}")
        for low, middle, high in zip(*shapes, strict=True):
            if not 1 <= low <= middle <= high:
                raise ConfigError(
                    f"a profile needs 1 <= smallest <= usual <= largest on every axis, got {self.describe()}"
                )

    def describe(self) -> str:
        """The three shapes as people write them.

        >>> ShapeRange((1, 3), (4, 3), (8, 3)).describe()
        '1x3 / 4x3 / 8x3'
        """
        return " / ".join("x".join(map(str, shape)) for shape in (self.smallest, self.usual, self.largest))

    def holds(self, shape: Sequence[int]) -> bool:
        """True when an engine with this range takes `shape`.

        >>> ShapeRange((1, 3), (4, 3), (8, 3)).holds((8, 3)), ShapeRange((1, 3), (4, 3), (8, 3)).holds((9, 3))
        (True, False)
        """
        return len(shape) == len(self.smallest) and all(
            low <= size <= high for low, size, high in zip(self.smallest, shape, self.largest, strict=True)
        )


Profile = Mapping[str, ShapeRange]


def profile_for(
    inputs: Sequence[TensorSpec],
    *,
    batches: tuple[int, int, int] = (1, 4, 8),
    sizes: Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]] | None = None,
    input_hw: tuple[int, int] | None = None,
) -> dict[str, ShapeRange]:
    """A range for every input with a free axis; empty when the graph has none.

    Args:
        inputs: of the graph.
        batches: smallest, usual and largest size of a free first axis.
        sizes: input -> smallest, usual and largest of the axes behind the first, where those are free.
        input_hw: height and width for free ones, where `sizes` does not say.

    Raises:
        ConfigError: a free axis that nothing tells the size of.
    """
    found = {}
    for spec in inputs:
        if None not in spec.shape:
            continue
        shapes = []
        for index in range(3):
            shape = list(spec.shape)
            if shape[0] is None:
                shape[0] = batches[index]
            given = list(sizes[spec.name][index]) if sizes and spec.name in sizes else None
            if given is not None:
                shape[1:] = given
            elif input_hw is not None and len(shape) == 4 and shape[2:] == [None, None]:
                shape[2:] = list(input_hw)
            if None in shape:
                raise ConfigError(
                    f"{spec.name} is {spec.describe()}: say between which sizes the engine must work, e.g. "
                    f"--shapes {spec.name}=1x3x192x320:4x3x192x320:8x3x384x640"
                )
            shapes.append(tuple(size for size in shape if size is not None))
        found[spec.name] = ShapeRange(*shapes)
    return found


def check_profile(inputs: Sequence[TensorSpec], profile: Profile) -> None:
    """Nothing comes back; refuse a profile that does not fit the graph, before TensorRT does in its own words.

    Raises:
        ConfigError: an unknown or missing input, another number of axes, or another size where the graph fixes it.
    """
    by_name = {spec.name: spec for spec in inputs}
    unknown = sorted(profile.keys() - by_name.keys())
    if unknown:
        raise ConfigError(f"the profile names {', '.join(unknown)}, and the inputs are {', '.join(by_name)}")
    for name, spec in by_name.items():
        if name not in profile:
            if None in spec.shape:
                raise ConfigError(f"the profile lacks {name}, whose size is free: {spec.describe()}")
            continue
        shapes = profile[name]
        if len(shapes.usual) != len(spec.shape):
            raise ConfigError(f"{name} is {spec.describe()}, and its profile has {len(shapes.usual)} axes")
        for axis, size in enumerate(spec.shape):
            if size is not None and {shapes.smallest[axis], shapes.largest[axis]} != {size}:
                raise ConfigError(f"axis {axis} of {name} is always {size}, and its profile says {shapes.describe()}")


def parse_shapes(text: str) -> tuple[str, ShapeRange]:
    """Input and range as a command line writes them.

    >>> parse_shapes("x=1x3x8x8:4x3x8x8:8x3x8x8")[1].usual
    (4, 3, 8, 8)

    Raises:
        ConfigError: it is written otherwise.
    """
    name, equals, rest = text.partition("=")
    parts = rest.split(":")
    try:
        if not (name and equals and len(parts) == 3):
            raise ValueError
        shapes = [tuple(int(size) for size in part.split("x")) for part in parts]
    except ValueError:
        raise ConfigError(f"--shapes is written like images=1x3x192x320:4x3x192x320:8x3x384x640, got {text}") from None
    return name, ShapeRange(*shapes)
