"""What the runtimes do alike: check settings and feeds, tell the layout of images, shorten a library's error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.tensors import TensorSpec

_CHANNELS = (1, 3, 4)  # grey, colour, colour with alpha: no picture is as small as that
_WRAPPING = ("Exception from ", "Check '", "FrontEnd API", "Converting input model")  # of OpenVINO's messages


def check_settings(title: str, threads: int | None, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Nothing comes back; refuse settings that no runtime takes.

    Raises:
        ConfigError: fewer than one thread, or an option that the runtime called `title` does not have.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    unknown = sorted(options.keys() - set(known))
    if unknown:
        has = f"the options {', '.join(sorted(known))}" if known else "no options"
        raise ConfigError(f"the {title} runtime has {has}; got {', '.join(unknown)}")


def checked_feeds(name: str, specs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """One C-contiguous array per spec, in their order.

    Raises:
        ConfigError: an input of the model `name` is missing, unknown, or of the wrong shape or dtype.
    """
    if feeds.keys() != {spec.name for spec in specs}:
        raise ConfigError(f"{name} takes the inputs {sorted(spec.name for spec in specs)}, got {sorted(feeds)}")
    for spec in specs:
        spec.check(feeds[spec.name])
    # ascontiguousarray turns a scalar into one element of rank 1; a scalar is contiguous anyway
    return [
        feeds[spec.name] if feeds[spec.name].ndim == 0 else np.ascontiguousarray(feeds[spec.name]) for spec in specs
    ]


def sizes(specs: Sequence[TensorSpec], arrays: Sequence[np.ndarray]) -> str:
    """The fed sizes for an error message.

    >>> sizes([TensorSpec("x", (None, 3))], [np.zeros((2, 3))])
    'x [2, 3]'
    """
    return ", ".join(f"{spec.name} {list(array.shape)}" for spec, array in zip(specs, arrays, strict=True))


def image_layout(specs: Iterable[TensorSpec]) -> dict[str, str]:
    """{"layout": "NHWC"} or {"layout": "NCHW"} where the channel axis of the image inputs shows it, else {}.

    >>> image_layout([TensorSpec("x", (None, 224, 224, 3))]), image_layout([TensorSpec("x", (1, 3, None, None))])
    ({'layout': 'NHWC'}, {'layout': 'NCHW'})
    >>> image_layout([TensorSpec("x", (1, 3, 4, 3))]), image_layout([TensorSpec("x", (1, 1000))])
    ({}, {})
    """
    found = set()
    for spec in specs:
        if len(spec.shape) == 4:
            first, last = spec.shape[1] in _CHANNELS, spec.shape[3] in _CHANNELS
            if first != last:
                found.add("NCHW" if first else "NHWC")
    return {"layout": found.pop()} if len(found) == 1 else {}


def one_line(error: BaseException, *, limit: int = 300) -> str:
    """The telling line of an exception: TensorFlow and OpenVINO wrap it in source positions and whole graphs.

    >>> one_line(RuntimeError("Exception from a.cpp:84:\\nCheck 'x' failed at b.cpp:9:\\nThe weights are short!"))
    'The weights are short!'
    """
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(_WRAPPING)]
    text = said[0] if said else next((line for line in lines if line), type(error).__name__)
    return text if len(text) <= limit else text[: limit - 3] + "..."
