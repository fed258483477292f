"""Which rows pass together: all of them once, no more than fit, and at the least cost of padding and calls."""

import random
from itertools import combinations, pairwise

import pytest

from swirl_lightning.engine.micro_batches import CALL, micro_batches


def cost(cuts, lengths, group_size, size, calls):
    """Of batches between cuts of the sorted groups; None where a batch has too many rows."""
    total = 0
    for start, end in pairwise(cuts):
        if size is not None and (end - start) * group_size > size and end - start > 1:
            return None
        total += (end - start) * lengths[end - 1] + calls * CALL
    return total


@pytest.mark.parametrize("size", [None, 2, 5])
@pytest.mark.parametrize("calls", [1, 20])
def test_least_cost(size, calls):
    draw = random.Random(0)
    for _ in range(30):
        count, group_size = draw.randint(1, 7), draw.randint(1, 3)
        prompts = [(0,) * draw.randint(1, 600) for _ in range(count)]
        prompt_of = [p for p in range(count) for _ in range(group_size)]
        rows = [draw.randint(1, 100) for _ in prompt_of]
        batches = micro_batches(prompts, prompt_of, size, rows, calls)

        pieces = [piece for batch in batches for piece in batch.pieces]
        assert sorted(n for piece in pieces for n in piece) == list(range(len(rows)))
        assert size is None or max(map(len, pieces)) <= size
        assert all({prompt_of[n] for piece in batch.pieces for n in piece} == set(batch.prompts) for batch in batches)

        long = [len(prompts[p]) + max(rows[p * group_size : (p + 1) * group_size]) for p in range(count)]
        found = sum(len(b.prompts) * max(long[p] for p in b.prompts) + calls * CALL for b in batches)
        cuts = [(0, *inner, count) for k in range(count) for inner in combinations(range(1, count), k)]
        costs = [cost(c, sorted(long), group_size, size, calls) for c in cuts]
        assert found == min(c for c in costs if c is not None)


def test_texts_of_like_length_pass_together():
    prompts = [(0,) * length for length in (1000, 10, 990, 20)]
    batches = micro_batches(prompts, [0, 1, 2, 3], None, [5, 5, 5, 5])
    assert [batch.prompts for batch in batches] == [(1, 3), (0, 2)]
    (batch,) = micro_batches(prompts, [0, 1, 2, 3], None, [0] * 4, calls=100)  # generation would take two times as long
    assert batch.prompts == (0, 1, 2, 3)
