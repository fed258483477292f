"""Both sides of benchmarks/vs_trl.py on a tiny model in this process: one update that is given, one that is not."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from swirl_lightning.models import ScratchLM

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import vs_trl_ours
import vs_trl_report
from vs_trl_work import Group, Work, random_completions, random_rewards

P, G, T, VOCABULARY = 2, 4, 5, 9000


def tiny(work):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.3, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).requires_grad_(False)


@pytest.fixture
def work():
    rng = random.Random(0)

    def ids(length):
        return tuple(rng.randrange(1000, VOCABULARY) for _ in range(length))

    updates = tuple(tuple(Group(ids(12 + p), ids(6 + p), ids(2), ids(3 + p)) for p in range(P)) for _ in range(3))
    completions = random_completions(P, G, T, rng)
    return Work("idm", "tiny", None, updates, completions, random_rewards(completions, rng), G, T, -1, 0.1, 2)


def ours(work, monkeypatch):
    monkeypatch.setattr(vs_trl_ours, "base_model", tiny)
    side = vs_trl_ours.Ours(work)
    return [side.update(0), side.update(1)]


def test_our_side_samples_to_the_limit_and_moves(work, monkeypatch):
    first, second = ours(work, monkeypatch)
    assert first.tokens == sum(len(ids) for group in work.completions for ids in group)
    assert first.distinct == P * (G - 1)
    assert second.tokens == P * G * T
    assert second.gradient == {}
    assert sum(abs(g).sum() for g in first.gradient.values()) > 0
    assert len({round(reward, 5) for reward in second.rewards}) > P, "rewards of a group differ"


@pytest.mark.parametrize("change", [None, {"beta": 0.2}, {"micro_batch": 4}, {"micro_batch": 8}])
def test_both_sides_agree_unless_they_do_other_work(work, monkeypatch, change):
    pytest.importorskip("trl", minversion="1.16.0")
    import vs_trl_peer

    class Connection:
        def __init__(self):
            self.sent = []

        def recv(self):
            return "update", len(self.sent)

        def send(self, update):
            self.sent.append(update)

    monkeypatch.setattr(vs_trl_peer, "base_model", tiny)
    monkeypatch.setattr(vs_trl_peer, "tokenizer", lambda work: ScratchLM().tokenizer(("a",), ()))
    peer = vs_trl_peer.Peer(replace(work, **change or {}), connection := Connection())
    peer.trainer.train()
    mine = ours(work, monkeypatch)
    check = vs_trl_report.compare(mine[0], connection.sent[0])
    failures = vs_trl_report.check_failures([check], 1e-3)
    assert [failure.split()[2] for failure in failures] == (["loss", "gradient"] if change == {"beta": 0.2} else [])
    assert [update.tokens for update in connection.sent[:2]] == [update.tokens for update in mine]
    assert connection.sent[0].distinct == mine[0].distinct
    assert all(min(update.seconds.values()) > 0 for update in connection.sent + mine)
