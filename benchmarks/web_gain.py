"""Does SWIRL gain on held-out episodes of MiniWoB++?

All arms, over seeds and numbers of labelled episodes:

    swirl collect web --out worlds/web
    python benchmarks/web_gain.py --data worlds/web --out benchmarks/results/web_gain.json

gain_arms.py says what the arms are. The learning rates were chosen on validation episodes of MiniWoB++ with
seed 0, which is not reported.
"""

from pathlib import Path

from gain_arms import Recipe
from gain_main import main

RECIPE = Recipe(
    config=Path(__file__).parents[1] / "benchmarks" / "configs" / "web-cpu.yaml",
    metric="fwm/rouge_l",
    published="+0.3 % (ROUGE-L on Mind2Web, 48.97 to 49.10)",
    rates={"sft": 1e-4, "bootstrap": 3e-4},
)

if __name__ == "__main__":
    main(RECIPE, __doc__)
