"""Which rows pass together: all of them once, no more than fit, and at the least cost of padding and calls."""

import random
from itertools import combinations, pairwise

import pytest

from swirl_lightning.engine.forest import lanes_of
from swirl_lightning.engine.micro_batches import CALL, micro_batches


def cost(groups, calls):
    """Of a batch: padded prompts, padded lanes behind them, and calls. Of each group its prompt's and its rows' length.

    The nodes of a prompt are here too few for more than a lane.
    """
    return len(groups) * (max(p for p, _ in groups) + max(rows for _, rows in groups)) + calls * CALL


@pytest.mark.parametrize("size", [None, 2, 5])
@pytest.mark.parametrize("calls", [1, 20])
def test_least_cost(size, calls):
    draw = random.Random(0)
    for _ in range(30):
        count, group_size = draw.randint(1, 7), draw.randint(1, 3)
        prompts = [(0,) * draw.randint(1, 600) for _ in range(count)]
        prompt_of = [p for p in range(count) for _ in range(group_size)]
        rows = [draw.randint(1, 80) for _ in prompt_of]
        batches = micro_batches(prompts, prompt_of, size, rows, calls)

        pieces = [piece for batch in batches for piece in batch.pieces]
        assert sorted(n for piece in pieces for n in piece) == list(range(len(rows)))
        assert size is None or max(map(len, pieces)) <= size
        assert all({prompt_of[n] for piece in batch.pieces for n in piece} == set(batch.prompts) for batch in batches)

        groups = [(len(prompts[p]), sum(rows[p * group_size : (p + 1) * group_size])) for p in range(count)]
        found = sum(cost([groups[p] for p in b.prompts], calls) for b in batches)
        groups.sort(key=sum)
        cuts = [(0, *inner, count) for k in range(count) for inner in combinations(range(1, count), k)]
        most = count if size is None else max(size // group_size, 1)
        allowed = [list(pairwise(c)) for c in cuts if max(b - a for a, b in pairwise(c)) <= most]
        assert found == min(sum(cost(groups[a:b], calls) for a, b in c) for c in allowed)


def test_texts_of_like_length_pass_together():
    prompts = [(0,) * length for length in (1000, 10, 990, 20)]
    batches = micro_batches(prompts, [0, 1, 2, 3], None, [5, 5, 5, 5])
    assert [batch.prompts for batch in batches] == [(1, 3), (0, 2)]
    (batch,) = micro_batches(prompts, [0, 1, 2, 3], None, [0] * 4, calls=100)  # generation would take two times as long
    assert batch.prompts == (0, 1, 2, 3)


def test_a_wide_tree_is_not_padded_to():
    """Eight long rows behind one prompt stay apart from single rows behind others, eight short ones do not."""
    prompts, single = [(0,) * 200] * 9, list(range(1, 9))
    for length, apart in ((40, True), (2, False)):
        prompt_of, lengths = [0] * 8 + single, [length] * 8 + [8] * 8
        batches = micro_batches(prompts, prompt_of, None, lengths)
        assert (len(batches) == 2) == apart
        assert not apart or {batch.prompts for batch in batches} == {(0,), tuple(single)}


def test_nodes_of_many_rows_fill_several_lanes():
    assert lanes_of(10, [7]) == (1, 7)
    assert lanes_of(10, [0]) == (1, 0)
    assert lanes_of(10, [100] * 6) == (3, 200)
    assert lanes_of(4000, [100] * 6) == (1, 600)
    assert lanes_of(10, [600, 1]) == (2, 600)
