"""Checks for grading tests: a failure says which property broke, what was expected, what came, and the likely cause.

`breaks` names the property in words ("0.0 has an exact code for the range [1, 6]"); `likely` the usual mistake. Plain
`assert` works too and says less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

CELLS = 5


class GradeFailure(AssertionError):
    """A property of an exercise does not hold; its text is what the learner reads."""


class Inconclusive(Exception):
    """A timing ratio whose interval straddles its bar: nothing is earned, nothing has failed."""


def inconclusive(reason: str) -> NoReturn:
    """End the test as inconclusive; for paired timing ratios only."""
    raise Inconclusive(reason)


def check(holds: object, *, breaks: str, likely: str = "", expected: str = "", got: object = None) -> None:
    """Nothing when `holds` is true; otherwise GradeFailure. `got` is shown by its first cells."""
    if not holds:
        raise failure(breaks, likely, expected, "" if got is None else show(got))


def check_equal(got: Any, want: Any, *, breaks: str, likely: str = "") -> None:
    """Nothing when both are equal; arrays and tensors also in shape, with NaN equal to NaN."""
    # a class of the submission that claims to equal everything is not an answer
    foreign = type(got).__module__.startswith("graded_") and type(got) is not type(want)
    left, right = _array(got), _array(want)
    if isinstance(right, np.ndarray):
        same = isinstance(left, np.ndarray) and left.shape == right.shape and _same_cells(left, right)
    else:
        same = not isinstance(left, np.ndarray) and bool(want == got)
    if foreign or not same:
        raise failure(breaks, likely, show(want), show(got))


def check_close(got: Any, want: Any, tol: float, *, rtol: float = 0.0, breaks: str, likely: str = "") -> None:
    """Nothing when shapes agree and |got - want| <= tol + rtol * |want| in every cell; NaN is close to NaN only."""
    try:
        left, right = np.asarray(_array(got), np.float64), np.asarray(_array(want), np.float64)
    except (TypeError, ValueError):
        raise failure(breaks, likely, show(want), show(got)) from None
    if left.shape != right.shape:
        raise failure(breaks, likely, f"{show(want)} of shape {right.shape}", f"{show(got)} of shape {left.shape}")
    both_nan = np.isnan(left) & np.isnan(right)
    with np.errstate(invalid="ignore"):  # inf - inf: equal infinities are close
        distance = np.where((left == right) | both_nan, 0.0, np.abs(left - right))
        beyond = ~(distance <= tol + rtol * np.abs(right)) & ~both_nan & (left != right)
    if beyond.any():
        where = np.unravel_index(
            int(np.argmax(np.where(beyond, np.nan_to_num(distance, nan=np.inf), -1.0))), left.shape
        )
        place = f" in cell {tuple(int(i) for i in where)}" if where else ""
        worst = f"{show(got)} (off by {distance[where]:.3g}{place})"
        raise failure(breaks, likely, f"{show(want)} within {tol + rtol * abs(float(right[where])):.3g}", worst)


def check_raises(
    kind: type[Exception], call: Callable[[], object], *, breaks: str, likely: str = "", says: str = ""
) -> None:
    """Nothing when `call()` raises `kind` with `says` in its sentence (any case).

    An exercise that is not written yet goes through, so that a stub can never look like a refusal.
    """
    expected = f"{kind.__name__}" + (f" that says {says!r}" if says else "")
    try:
        result = call()
    except NotImplementedError:
        raise
    except kind as error:
        if says.lower() not in str(error).lower():
            raise failure(breaks, likely, expected, f"{type(error).__name__}: {error}") from error
    except Exception as error:
        raise failure(breaks, likely, expected, f"{type(error).__name__}: {error}") from error
    else:
        raise failure(breaks, likely, expected, f"no error, but {show(result)}")


def failure(breaks: str, likely: str = "", expected: str = "", got: str = "") -> GradeFailure:
    """The failure with its lines: broke, expected and got, likely; empty ones are left out."""
    lines = [f"broke: {breaks}"]
    pair = [f"{name}: {text}" for name, text in (("expected", expected), ("got", got)) if text]
    if pair:
        together = "        ".join(pair)
        lines += [together] if len(together) <= 110 else pair
    if likely:
        lines.append(f"likely: {likely}")
    return GradeFailure("\n".join(lines))


def show(value: Any) -> str:
    """The value in one short line: an array by its first five cells, its shape and its type.

    >>> show(np.arange(12.0).reshape(3, 4))
    '[0.0, 1.0, 2.0, 3.0, 4.0, ...] shape (3, 4) float64'
    >>> show("onnx"), show([1.5, 2])
    ("'onnx'", '[1.5, 2]')
    """
    array = _array(value)
    if isinstance(array, np.ndarray) and array.ndim:
        cells = [repr(cell) for cell in array.ravel()[:CELLS].tolist()]
        more = ["..."] if array.size > CELLS else []
        return f"[{', '.join(cells + more)}] shape {array.shape} {array.dtype}"
    try:
        text = repr(array.item() if isinstance(array, np.ndarray | np.generic) else value)
    except Exception as error:  # an object of the submission may fail to describe itself
        text = f"{type(value).__name__} whose repr fails ({type(error).__name__})"
    return text if len(text) <= 160 else f"{text[:157]}..."


def _array(value: Any) -> Any:
    """A torch tensor as a NumPy array; anything else as it is."""
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value


def _same_cells(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    floating = np.issubdtype(left.dtype, np.inexact) and np.issubdtype(right.dtype, np.inexact)
    return bool(np.array_equal(left, right, equal_nan=floating))
