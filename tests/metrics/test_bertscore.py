"""BERTScore with a tiny random encoder, against torchmetrics on one pair at a time."""

import pickle
from copy import deepcopy

import pytest
import torch
from lightning import LightningModule
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import nn
from torchmetrics.functional.text import bert_score
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from swirl_lightning.metrics import BertScore
from swirl_lightning.metrics.bertscore import greedy_match_f1
from swirl_lightning.types import InputError, Prediction, Transition

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
WORDS = ("the", "lamp", "is", "on", "off", "door", "open", "shut", "safe", "in", "coin")
SAID = ["the lamp is on", "door", "the coin is in the safe and the door is open", "lamp off", "safe shut the door"]
TRUE = ["the lamp is off", "the door is shut", "coin", "lamp off", "is on the lamp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An encoder of two layers with random weights, large enough that embeddings differ."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL.values(), *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.5, max_position_embeddings=24,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("encoder")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24, **SPECIAL).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


def value(metric, said, true):
    transitions = [Transition("e", i, "x", text, "z") for i, text in enumerate(true)]
    metric.update(transitions, [Prediction("z", text) for text in said])
    return metric.compute().item()


def one_by_one(folder, said, true, layer=None):
    options = {"model_name_or_path": folder, "num_layers": layer, "max_length": 24}
    return [float(bert_score([p], [t], **options)["f1"]) for p, t in zip(said, true, strict=True)]


@pytest.mark.parametrize("layer", [None, 0, 1])
def test_agrees_with_torchmetrics_on_single_pairs(folder, layer):
    want = one_by_one(folder, SAID, TRUE, layer)
    assert len({round(score, 3) for score in want}) == 5
    for batch_size in (1, 2, 16):
        metric = BertScore(folder, layer, batch_size=batch_size)
        assert value(metric, SAID, TRUE) == pytest.approx(sum(want) / 5, abs=1e-5)
        assert [value(BertScore(folder, layer), [p], [t]) for p, t in zip(SAID, TRUE, strict=True)] == pytest.approx(
            want, abs=1e-5
        )


def test_why_torchmetrics_is_not_asked_for_a_batch(folder):
    """Where this fails, their issue 2728 has been mended, and ``BertScore`` may go through their function."""
    batch = bert_score(SAID, TRUE, model_name_or_path=folder, max_length=24)["f1"].tolist()
    assert batch != pytest.approx(one_by_one(folder, SAID, TRUE), abs=1e-3)


def test_greedy_matches_by_hand():
    """Two tokens against three: precision is the mean of 1 and 0 (all cosines below 0), recall of 1, 0.6 and 0."""
    said_NPD = torch.tensor([[[1.0, 0.0], [-0.8, -0.6]]])
    true_NRD = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]])
    mask_NP, mask_NR = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    precision, recall = 1 / 2, 1.6 / 3
    f1 = greedy_match_f1(said_NPD, mask_NP, true_NRD, mask_NR)
    assert f1.tolist() == pytest.approx([2 * precision * recall / (precision + recall)])


def test_what_scores_nothing(folder):
    assert value(BertScore(folder), ["lamp on"], ["lamp on"]) == pytest.approx(1)
    assert value(BertScore(folder), [None, "", "lamp on", "", "lamp on"], ["", "", "", "lamp", "lamp on"]) == (
        pytest.approx(1 / 5)
    )


def test_a_long_text_is_compared_in_its_beginning_only(folder):
    metric = BertScore(folder, max_tokens=5)  # three words between the special tokens
    assert value(metric, ["the lamp is on"], ["the lamp is off"]) == pytest.approx(1)
    long = "lamp " * 50  # the tokenizer says that the model takes 24
    assert value(BertScore(folder), [long], [long]) == pytest.approx(1)


def test_the_encoder_is_no_part_of_what_holds_the_metric(folder):
    module = LightningModule()
    module.metrics = nn.ModuleDict({"fwm_bertscore": BertScore(folder)})
    value(module.metrics["fwm_bertscore"], SAID, TRUE)
    assert not list(module.parameters())
    assert not module.state_dict()
    assert len(list(module.modules())) == 3
    twin = deepcopy(module.metrics["fwm_bertscore"])
    assert len(pickle.dumps(twin)) < 5000
    twin.reset()
    assert value(twin, ["lamp"], ["lamp"]) == pytest.approx(1)


def test_no_random_number_and_no_gradient(folder):
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    metric = BertScore(folder)
    value(metric, SAID, TRUE)
    assert torch.equal(torch.rand(1), drawn)
    assert not metric.total.requires_grad


def test_low_precision_runs_score_the_same(folder):
    want = value(BertScore(folder), SAID, TRUE)
    with torch.autocast("cpu", torch.bfloat16):
        assert value(BertScore(folder).to(torch.bfloat16), SAID, TRUE) == want


def test_what_cannot_be_loaded_is_told_at_once(folder, tmp_path):
    with pytest.raises(InputError, match=r"encoder: .*nowhere' cannot be loaded .* expected a folder with an encoder"):
        BertScore(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"layer: found 3, expected 0 to 2"):
        BertScore(folder, layer=3)


def test_a_tokenizer_that_cannot_pad_is_told(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"has no padding token; expected an encoder"):
        BertScore(str(tmp_path))
