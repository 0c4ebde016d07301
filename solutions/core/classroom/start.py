"""How a template runs as a script while some of its exercises are still to be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from solutions.core.errors import ConfigError
from solutions.core.scripts import run


def run_template(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """The exit code of `main(argv)`, as `scripts.run`; an unwritten exercise is one sentence and exit code 2 too."""

    def checked(arguments: Sequence[str] | None) -> int:
        try:
            return main(arguments)
        except NotImplementedError as error:
            text = str(error)
            if not text.startswith("exercise "):  # torch raises these too
                raise
            raise ConfigError(f"not written yet: {text}. Stuck? grade hint {text.split()[1]}") from error

    return run(checked, argv)
