"""`python -m pillion` is the command line."""

import sys

from pillion.tools.main import main

if __name__ == "__main__":
    sys.exit(main())
