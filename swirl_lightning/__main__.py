"""``python -m swirl_lightning`` is ``swirl``."""

import sys

from swirl_lightning.commands import main

sys.exit(main())
