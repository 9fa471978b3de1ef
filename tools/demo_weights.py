"""Make a run's final weights and certificate the demo of the package: `make demo-weights RUN=runs/NAME`."""

from __future__ import annotations

import sys
from pathlib import Path

from meld_core.demo import install_demo
from meld_core.storage.run_folder import RunFolder

TARGET = Path(__file__).resolve().parent.parent / "src" / "meld_core" / "demo"


def main(arguments: list[str]) -> int:
    """Install; the exit code: 0 well, 2 something given was wrong."""
    if len(arguments) != 1 or not arguments[0]:
        print("demo-weights: say which run: make demo-weights RUN=runs/NAME", file=sys.stderr)
        return 2
    try:
        weights = install_demo(RunFolder(Path(arguments[0])), TARGET)
    except (ValueError, RuntimeError) as error:
        print(f"demo-weights: {error}", file=sys.stderr)
        return 2
    print(f"demo: run {weights.run}, version {weights.version}, sha256 {weights.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
