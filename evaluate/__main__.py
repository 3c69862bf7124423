"""`python -m evaluate [forecast|fault_matrix|soak] [OPTIONS]`: without a name all three, one after the other.

Options without a name are the forecast's, which then runs alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

PARTS = ("forecast", "fault_matrix", "soak")


def main(arguments: Sequence[str]) -> int:
    named = arguments[0] if arguments and arguments[0] in PARTS else None
    if named is not None or arguments:
        options = arguments[1:] if named else arguments
        return importlib.import_module(f"evaluate.{named or 'forecast'}").main(list(options))
    codes = []
    for part in PARTS:
        print(f"\n== {part}", flush=True)
        own = ["--write"] if part == "fault_matrix" else []
        codes.append(importlib.import_module(f"evaluate.{part}").main(own))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
