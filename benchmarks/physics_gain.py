"""Does SWIRL gain on held-out episodes of ScienceWorld (arXiv:2203.07540)?

All arms, over seeds and numbers of labelled episodes:

    swirl collect physics --out worlds/physics
    python benchmarks/physics_gain.py --data worlds/physics --out benchmarks/results/physics_gain.json

gain_arms.py says what the arms are. The learning rates were chosen on validation episodes of MiniWoB++ with
seed 0, which is not reported.
"""

from pathlib import Path

from gain_arms import Recipe
from gain_main import main

RECIPE = Recipe(
    config=Path(__file__).parents[1] / "benchmarks" / "configs" / "physics-cpu.yaml",
    metric="fwm/rouge_l",
    published="+0.2 % (ROUGE-L 89.73 to 89.92)",
    rates={"sft": 1e-4, "bootstrap": 3e-4},
)

if __name__ == "__main__":
    main(RECIPE, __doc__)
