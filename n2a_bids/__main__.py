"""``python -m n2a_bids``: the BIDS-App."""

import sys

from n2a_bids.cli.main import main

# Worker processes import this module again: they must not start a second run.
if __name__ == "__main__":
    sys.exit(main())
