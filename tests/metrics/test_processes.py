"""Two processes with uneven shares of the data must find what one process finds on all of it."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from swirl_lightning.metrics import DeltaF1, ExactMatch, MeanLogProb, TokenF1, UniqueShare

STATES = ["a\nb"] * 7
TARGETS = ["a\nc", "b", "a\nb", "a b", "a\nb\nc", "", "c"]
PREDICTIONS = ["a\nc", None, "a\nb", "b", "a\nc", "", "a\nc"]
MASK_NT = torch.arange(3) <= torch.arange(7)[:, None] % 3
LOGP_NT = -torch.arange(21.0).reshape(7, 3)
SPLITS = [[(0, 2), (2, 7)], [(0, 7), (7, 7)]]  # uneven; and nothing at all for the second process


def evaluate(start, stop):
    """The value of every metric, having seen rows start to stop, two at a time."""
    metrics = [ExactMatch(), TokenF1(), DeltaF1(), MeanLogProb(), UniqueShare()]
    for i in range(start, stop, 2):
        rows = slice(i, min(i + 2, stop))
        metrics[0].update(PREDICTIONS[rows], TARGETS[rows])
        metrics[1].update(PREDICTIONS[rows], TARGETS[rows])
        metrics[2].update(STATES[rows], PREDICTIONS[rows], TARGETS[rows])
        metrics[3].update(LOGP_NT[rows], MASK_NT[rows])
        metrics[4].update([str(prediction) for prediction in PREDICTIONS[rows]])
    return [metric.compute().item() for metric in metrics]


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save([evaluate(*split[rank]) for split in SPLITS], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_two_processes_agree_with_one(tmp_path, monkeypatch, pytestconfig):
    monkeypatch.syspath_prepend(pytestconfig.rootpath)  # a spawned process imports this file by its name
    want = evaluate(0, 7)
    assert len({round(score, 3) for score in want}) == 5
    mp.spawn(process, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        for found in torch.load(tmp_path / f"{rank}.pt"):
            assert found == pytest.approx(want, rel=1e-12)
