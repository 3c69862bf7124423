"""`python -m evaluate`: the same as `python -m evaluate.forecast`."""

import sys

from evaluate.forecast import main

if __name__ == "__main__":
    sys.exit(main())
