"""World models from state-only logs: SWIRL (arXiv 2602.06130) on PyTorch Lightning."""

__version__ = "0.1.0"
