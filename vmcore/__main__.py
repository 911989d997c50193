"""`python -m vmcore`."""

import sys

from vmcore.cli import main

if __name__ == "__main__":
    sys.exit(main())
