"""Does SWIRL gain on held-out calls of a Model Context Protocol server, or on MirrorAPI-Bench?

All arms, over seeds and numbers of labelled episodes:

    swirl collect tool --server "..." --out worlds/tool
    python benchmarks/tool_gain.py --data worlds/tool --out benchmarks/results/tool_gain.json

gain_arms.py says what the arms are. The learning rates were chosen on validation episodes of MiniWoB++ with
seed 0, which is not reported.
"""

from pathlib import Path

from gain_arms import Recipe
from gain_main import main

RECIPE = Recipe(
    config=Path(__file__).parents[1] / "benchmarks" / "configs" / "tool-cpu.yaml",
    metric="fwm/char_bleu",
    published="+14 % (BLEU on StableToolBench, 12.85 to 14.61)",
    rates={"sft": 1e-4, "bootstrap": 3e-4},
)

if __name__ == "__main__":
    main(RECIPE, __doc__)
