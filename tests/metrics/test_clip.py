"""CLIP scores with a tiny random CLIP, against the definitions computed naively from its two towers."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")

from PIL import Image
from transformers import BertConfig, BertModel, CLIPModel

from swirl_lightning.metrics.clip import ClipScore, clip_metrics, direction, similarity
from swirl_lightning.models.clip import load_clip
from swirl_lightning.pictures import PAD, name_picture, write_image
from swirl_lightning.types import InputError, Prediction, Transition

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from picture_models import CLIP_MEAN as MEAN
from picture_models import CLIP_SIDE as SIDE
from picture_models import CLIP_STD as STD
from picture_models import CLIP_WORDS as WORDS
from picture_models import make_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"), positions=8)


def picture(n, height=SIDE, width=SIDE):
    return np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8)


@cache
def towers(folder):
    return CLIPModel.from_pretrained(folder).eval()


def naive_picture(folder, pixels):
    """Both towers by hand: no processor, no get_image_features."""
    model = towers(folder)
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = Image.new("RGB", (side, side), PAD)
    square.paste(Image.fromarray(pixels), ((side - width) // 2, (side - height) // 2))
    if side != SIDE:
        square = square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    x = (torch.tensor(np.asarray(square)) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=x.permute(2, 0, 1)[None]).pooler_output
        feature = model.visual_projection(pooled)[0]
    return (feature / feature.norm()).double().numpy()


def naive_text(folder, text):
    model = towers(folder)
    names = ("<pad>", "<unk>", *WORDS, "<bos>", "<eos>")
    ids = torch.tensor([[names.index(token) for token in ("<bos>", *text.split()[:6], "<eos>")]])
    with torch.no_grad():
        states = model.text_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        feature = model.text_projection(states[0, -1])
    return (feature / feature.norm()).double().numpy()


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Three transitions and what was predicted; the second one's pictures are of another size than the prediction."""
    folder = tmp_path_factory.mktemp("pictures")
    names, shown = {}, {}
    for n, shape in enumerate([(8, 8)] * 3 + [(8, 8), (6, 12), (12, 6)] + [(8, 8)] * 3):
        shown[n] = picture(n, *shape)
        write_image(folder / f"{n}.png", shown[n])
        names[n] = name_picture(folder / f"{n}.png")
    transitions = [
        Transition("a", 0, names[0], names[1], "turn left"),
        Transition("b", 0, names[4], names[5], "a dog on the mat turn left a dog"),
        Transition("c", 0, names[6], names[7], "a cat"),
    ]
    predictions = [Prediction("", names[2]), Prediction("", names[3]), Prediction("", names[8])]
    captions = {("b", 0): ("a cat", "a dog on the mat"), ("c", 0): (None, "the dog")}
    rows = [(shown[0], shown[1], shown[2]), (shown[4], shown[5], shown[3]), (shown[6], shown[7], shown[8])]
    return transitions, predictions, captions, rows


def value(folder, measure, captions, transitions, predictions):
    metric = ClipScore(measure, folder, captions)
    metric.update(transitions, predictions)
    return float(metric.compute())


def test_against_both_towers_by_hand(folder, case):
    transitions, predictions, captions, rows = case
    features = [[naive_picture(folder, its) for its in row] for row in rows]
    texts = [naive_text(folder, text) for text in ("turn left", "a dog on the mat", "the dog")]
    want = {
        "target": np.mean([cosine(said, target) for _, target, said in features]),
        "source": np.mean([cosine(said, source) for source, _, said in features]),
        "nearer": np.mean([cosine(said, target) > cosine(said, source) for source, target, said in features]),
        "direction": np.mean([cosine(said - source, target - source) for source, target, said in features]),
        "text": np.mean([cosine(said, text) for (_, _, said), text in zip(features, texts, strict=True)]),
        "text_direction": cosine(features[1][2] - features[1][0], texts[1] - naive_text(folder, "a cat")),
    }
    assert len({round(float(its), 3) for its in want.values()}) == 6
    for measure, expected in want.items():
        assert value(folder, measure, captions, transitions, predictions) == pytest.approx(expected, abs=1e-5), measure
    metrics = clip_metrics(folder, captions)
    assert list(metrics) == [f"fwm_clip_{measure}" for measure in want]
    assert "fwm_clip_text_direction" not in clip_metrics(folder, {("c", 0): (None, "the dog")})


def test_a_long_text_is_cut_and_a_batch_is_padded(folder):
    clip, device = load_clip(folder), torch.device("cpu")
    long = "a cat on the mat turn left a dog on the mat"
    both = clip.texts(["dog", long], device).double().numpy()
    assert np.allclose(both[0], naive_text(folder, "dog"), atol=1e-5)
    assert np.allclose(both[1], naive_text(folder, long), atol=1e-5)  # six words between two special tokens


def test_what_scores_nothing(folder, case):
    transitions, _, captions, _ = case
    same = transitions[0]
    copied, malformed = Prediction("", same.state), Prediction("", None)
    assert value(folder, "direction", {}, [same], [copied]) == 0
    assert value(folder, "source", {}, [same], [copied]) == pytest.approx(1, abs=1e-6)
    assert value(folder, "nearer", {}, [same], [copied]) == 0
    assert value(folder, "target", {}, [same, same], [malformed, Prediction("", same.next_state)]) == pytest.approx(0.5)
    still = Transition("d", 0, same.state, same.state, "wait")
    assert np.isnan(value(folder, "direction", {}, [still], [Prediction("", same.next_state)]))
    assert np.isnan(value(folder, "text_direction", captions, [same], [copied]))  # it has no captions
    assert direction(torch.ones(2), torch.zeros(2), torch.tensor([2.0, 0.0])) == pytest.approx(0.5**0.5)


def test_two_pictures_are_compared_in_the_size_of_the_first(folder, case):
    transitions, predictions, _, rows = case
    found = similarity(folder, predictions[1].next_state, transitions[1].next_state, torch.device("cpu"))
    want = cosine(naive_picture(folder, rows[1][2]), naive_picture(folder, rows[1][1]))
    assert found == pytest.approx(want, abs=1e-5)


def test_what_is_no_clip_is_told(folder, tmp_path):
    with pytest.raises(InputError, match=r"^clip: '.*none' cannot be loaded \(.*expected a folder with a CLIP"):
        ClipScore("target", str(tmp_path / "none"), {})
    load_clip(folder).tokenizer.save_pretrained(tmp_path / "bert")
    load_clip(folder).processor.save_pretrained(tmp_path / "bert")
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match=r"bert': found no CLIP, expected a whole model of pictures and texts"):
        load_clip(str(tmp_path / "bert"))
    (tmp_path / "part").mkdir()
    clip = load_clip(folder)
    part = {name: its for name, its in clip.model.state_dict().items() if name != "visual_projection.weight"}
    clip.model.save_pretrained(tmp_path / "part", state_dict=part)
    clip.tokenizer.save_pretrained(tmp_path / "part")
    clip.processor.save_pretrained(tmp_path / "part")
    with pytest.raises(InputError, match=r"part': found missing weights, such as visual_projection\.weight"):
        load_clip(str(tmp_path / "part"))
