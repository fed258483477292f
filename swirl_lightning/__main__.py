"""``python -m swirl_lightning`` is ``swirl``."""

import sys

from swirl_lightning.cli import main

sys.exit(main())
