"""World models from state-only logs: SWIRL (arXiv 2602.06130) on PyTorch Lightning."""

import logging

__version__ = "0.1.0"

# says at import that an optional kernel is absent, which nothing here needs
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
