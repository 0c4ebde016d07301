"""`python -m solutions.phase2_optimization.compression`: see `script`."""

from solutions.core.scripts import run
from solutions.phase2_optimization.compression.script import main

if __name__ == "__main__":
    raise SystemExit(run(main))
