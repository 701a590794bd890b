"""`python -m edge` is `tonelight`."""

import sys

from edge.cli import main

sys.exit(main())
