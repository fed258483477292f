"""Trees of rows: what lone rows become."""

import random

import torch

from swirl_lightning.engine.forest import plant


def test_lone_rows_are_trees_like_others():
    """A row by itself is laid out as the tree that it and its double make."""
    draw = random.Random(0)
    for _ in range(50):
        count = draw.randint(1, 6)
        prompts = [(1,) * draw.randint(1, 5) for _ in range(count)]
        prompt_of = draw.sample(range(count), count)
        rows = [tuple(draw.choices(range(4), k=draw.randint(1, 7))) for _ in range(count)]
        scored = [draw.randint(1, len(row)) for row in rows]
        lone = plant(prompts, prompt_of, rows, scored)
        doubled = plant(prompts, prompt_of * 2, rows * 2, scored * 2)
        for name, expected in doubled._asdict().items():
            found = getattr(lone, name)
            if name == "prediction_of":
                expected = expected[:count]
            same = map(torch.equal, found, expected) if name == "scored" else [torch.equal(found, expected)]
            assert all(same), name
