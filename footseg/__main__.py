"""``python -m footseg`` is the command ``footseg``."""

import sys

from footseg.cli import main

sys.exit(main())
