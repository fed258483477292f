"""Pretrained models of pictures, tiny and random, each with the traps of its family."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ChameleonForConditionalGeneration, Emu3ForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from picture_models import CELL, CODES, KINDS, SIDE, code_name, tokenizer, vqgan, write_vqgan

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.engine import PlainTexts, SharedPrompts
from swirl_lightning.engine.sharing import choose_engine
from swirl_lightning.models import Emu3LM, LiquidLM, Policy, PretrainedLM
from swirl_lightning.models.visual import allow_codes
from swirl_lightning.pictures import fitted, pixels, place_picture, read_codes
from swirl_lightning.types import InputError, Transition

FORM = CodecForm({"": Layout()}, "full", 400)
OPTIONS = {"picture_size": SIDE, "dtype": "float32", "lora_rank": 2}
CELLS = SIDE // CELL
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The options of each kind's folder, written once."""
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, (_, write) in KINDS.items()}


@pytest.fixture
def made(written):
    """Makes a base of a kind."""

    def make(kind, **options):
        return KINDS[kind][0](**written[kind] | OPTIONS | options)

    return make


@pytest.fixture
def step(tmp_path):
    """A transition between two pictures of unequal size."""
    rng = np.random.default_rng(0)
    x, y = (place_picture(tmp_path, rng.integers(0, 256, size, np.uint8)) for size in ((48, 80, 3), (64, 64, 3)))
    return Transition("e", 0, x, y, "put a cat on the seat")


@every_kind
def test_prompts_are_those_that_the_model_was_trained_with(kind, made, step):
    """By hand, in the words of its tokenizer; the action in them is text, and both roles have one template each."""
    codec = made(kind, forward_template="Edit:", inverse_template="Why?").codec([], FORM)
    code = codec.encode(step)
    ids, words = codec.tokenizer.convert_tokens_to_ids, codec.tokenizer.encode
    opening, closing, turn = {
        "liquid": (["<boi>"], ["<eoi>"], []),
        "chameleon": (["<racm3:break>"], ["<eoss>"], ["<reserved08706>"]),
        "emu3": (["<|image start|>", "4", "*", "4", "<|image token|>"], ["<|extra_201|>", "<|image end|>"], []),
    }[kind]
    opening, closing, turn = ([ids(token) for token in tokens] for tokens in (opening, closing, turn))
    z = words(" put a cat on the seat")
    forward = [ids("<bos>"), *opening, *code.x, *closing, *words("\nEdit:"), *z, *turn, *opening]
    inverse = [ids("<bos>"), *opening, *code.x, *closing, *opening, *code.y, *closing, *words("\nWhy?"), *turn]
    assert list(code.prompts.forward(code.x, code.z)) == forward == list(codec.question(step.state, step.action))
    assert list(code.prompts.inverse(code.x, code.y)) == inverse
    assert codec.action(code.z) == step.action
    assert codec.num_ids <= made(kind)._config().get_text_config(decoder=True).vocab_size


@every_kind
def test_codes_of_pictures_and_pictures_of_codes(kind, made, step):
    codec = made(kind).codec([], FORM)
    code, answer = codec.encode(step), codec.answers["fwm"]
    assert answer.row(code.y) == code.y
    assert len(code.y) == CELLS * (CELLS + (kind == "emu3"))
    assert len(set(code.y)) > 4  # of a network that tells places apart
    said = codec.next_state(step.state, code.y)
    codebook, codes_RC = read_codes(said)
    assert np.array_equal(codes_RC, codebook.encode(fitted(pixels(step.next_state), (SIDE, SIDE))))
    assert np.array_equal(pixels(said), codebook.decode(codes_RC))
    assert pixels(said).shape == (SIDE, SIDE, 3)
    assert codec.encode_states([said]) == [code.y]  # what a model writes is fed back as it is
    assert codec.next_state(step.state, code.y[:-2]) is None
    assert codec.comparable(step.next_state) == said
    assert codec.view(said, step.next_state).shape == codec.view(step.state).shape == (160, 160, 3)
    assert "of 2 of 2 pictures, at 16 x 16 pixels" in codec.losses([step.state, step.next_state])
    for token in (codec.words.codes[0], codec.words.codes[-1]):
        assert answer.allows(token)
        assert not codec.answers["idm"].allows(token)


def test_emu3s_own_functions_agree(made, written, step):
    """Its ids of a picture and, without the three ids that it drops at the end, its picture of ids."""
    codec = made("emu3").codec([], FORM)
    model = Emu3ForConditionalGeneration.from_pretrained(written["emu3"]["name"]).eval()
    x = codec.encode(step).x
    network = codec.codebook.network
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (network.mean, network.std))
    raw = torch.tensor(fitted(pixels(step.state), (SIDE, SIDE))).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        theirs = model.model.get_image_tokens((raw - mean) / std, torch.tensor([[SIDE, SIDE]]))
        assert tuple(theirs.tolist()) == x
        picture = model.model.decode_image_tokens(torch.tensor([[*x, 1, 2, 0]]), CELLS, CELLS)
    picture = (255 * (picture * std + mean)).round().clamp(0, 255)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(picture.astype(np.uint8), pixels(codec.comparable(step.state)))


def test_chameleons_own_function_agrees(made, written, step):
    """Whose ids are in another order than its codes."""
    codec = made("chameleon").codec([], FORM)
    model = ChameleonForConditionalGeneration.from_pretrained(written["chameleon"]["name"]).eval()
    raw = torch.tensor(fitted(pixels(step.state), (SIDE, SIDE))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        assert tuple(model.get_image_tokens(raw)[0].tolist()) == codec.encode(step).x
    assert list(codec.words.codes) != sorted(codec.words.codes)
    assert codec.words.codes[13] == codec.tokenizer.convert_tokens_to_ids(code_name(13))


@every_kind
def test_adapters_are_on_the_text_model_alone(kind, made):
    base = made(kind)
    weights = base.weights(base.codec([], FORM), ["fwm", "idm"])
    adapted = {key.rsplit(".lora_", 1)[0] for key in weights.named("fwm")}
    assert {name.rsplit(".", 1)[-1] for name in adapted} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert len(adapted) == 2 * 7
    assert not any("vqmodel" in name for name in adapted)
    learning = {name for name, parameter in weights.activate("fwm").named_parameters() if parameter.requires_grad}
    assert learning
    assert all(".lora_" in name for name in learning)


@every_kind
def test_both_forms_of_the_engine_agree(kind, made, step):
    """The log-probs of a whole picture, and those of an action, to 1e-4; of Chameleon too, whose codes have logits."""
    base = made(kind)
    codec = base.codec([], FORM)
    weights = base.weights(codec, ["fwm"])
    assert choose_engine(weights.activate("fwm"), 400) is SharedPrompts
    code = codec.encode(step)
    for role, prompt, target in (
        ("fwm", code.prompts.forward(code.x, code.z), code.y), ("idm", code.prompts.inverse(code.x, code.y), code.z),
    ):  # fmt: skip
        answer = codec.answers[role]
        row = answer.row(target)
        shared, plain = (
            Policy(weights, "fwm", answer, engine).logprobs([prompt], torch.tensor([0]), [row], [len(row)]).logp
            for engine in (SharedPrompts, PlainTexts)
        )
        torch.testing.assert_close(shared, plain, atol=1e-4, rtol=1e-4)
        assert -8 * len(row) < float(shared.detach().sum()) < -0.5


def test_chameleon_as_it_comes_gives_codes_no_logits(made, written, step):
    """Its forward sets them to the lowest number, so all pictures would be as probable as one another."""
    codec = made("chameleon").codec([], FORM)
    model = ChameleonForConditionalGeneration.from_pretrained(written["chameleon"]["name"]).eval()
    code = codec.encode(step)
    prompt = torch.tensor([code.prompts.forward(code.x, code.z)])
    logits = model(prompt).logits[0, -1, codec.answers["fwm"].rows]
    assert (logits == torch.finfo(torch.float32).min).all()
    allow_codes(model)
    assert model(prompt).logits[0, -1, codec.answers["fwm"].rows].std() > 0.01
    assert len(model.model.vocabulary_mapping.img2bpe) == CODES  # its own functions work as before


@pytest.mark.parametrize("kind", ["emu3", "chameleon"])
def test_the_vq_network_is_never_quantised(kind, made, monkeypatch):
    """Loaded in nf4, where Emu3's has linear layers too, and as it is used: one network, in float32."""
    base = made(kind, quantize="nf4")
    seen = {}
    original = type(base).prepare

    def prepare(self, model):
        seen.update({n: p.dtype for n, p in model.model.vqmodel.named_parameters()})
        original(self, model)

    monkeypatch.setattr(type(base), "prepare", prepare)
    codec = base.codec([], FORM)
    model = base.weights(codec, ["fwm"]).activate("fwm")
    assert set(seen.values()) == {torch.float32}
    assert model.model.vqmodel is codec.codebook.network.vqvae
    assert {p.dtype for p in codec.codebook.network.parameters()} == {torch.float32}
    text = {
        n: p.dtype for n, p in model.named_parameters() if "vqmodel" not in n and n.endswith("q_proj.base_layer.weight")
    }
    assert set(text.values()) == {torch.uint8}


def test_missing_weights_are_refused(written, tmp_path):
    """transformers warns and takes random numbers: of another class, and of a file that was cut."""
    codec = Emu3LM(**written["emu3"] | OPTIONS).codec([], FORM)
    told = (
        r"the files of '.*' lack 21 of the weights of a Emu3ForCausalLM, such as lm_head\.weight, which would be random"
    )
    with pytest.raises(InputError, match=told):
        PretrainedLM(written["emu3"]["name"], dtype="float32").weights(codec, ["fwm"])
    source = Path(written["liquid"]["name"])
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(source / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    base = LiquidLM(**written["liquid"] | OPTIONS | {"name": str(tmp_path)})
    with pytest.raises(InputError, match=r"lack 1 of the weights of a GemmaForCausalLM, such as model\.layers\.1\.mlp"):
        base.weights(base.codec([], FORM), ["fwm"])


def test_what_does_not_fit_together_is_told(written, tmp_path, made):
    """Numbers of ids are read, and compared."""
    write_vqgan(tmp_path / "other.ckpt", vqgan(num_embeddings=CODES - 1))
    told = rf"found \d+ ids in the model and \d+ in its tokenizer, which leaves {CODES} for codes .* has {CODES - 1};"
    with pytest.raises(InputError, match=told):
        made("liquid", vq=str(tmp_path / "other.ckpt")).codec([], FORM)
    with pytest.raises(InputError, match=r"model\.base\.vq: found a VQGAN with other codes than those in"):
        made("chameleon", vq=str(tmp_path / "other.ckpt")).codec([], FORM)
    with pytest.raises(InputError, match=r"found no decoder, .* set model\.base\.vq to the original VQGAN file"):
        made("chameleon", vq=None).codec([], FORM)
    with pytest.raises(InputError, match=r"model\.base\.picture_size: found 18, expected a multiple of 4"):
        made("liquid", picture_size=18).codec([], FORM)
    with pytest.raises(InputError, match=r"model\.state_form, model\.idm\.reads: found delta, expected full"):
        made("liquid").codec([], FORM._replace(state_form="delta"))
    with pytest.raises(InputError, match=r"model\.layout: found words, expected null"):
        made("liquid").codec([], FORM._replace(layouts={"": Layout(start="Look:")}))


@pytest.mark.parametrize(
    ("kind", "token"), [("liquid", "<boi>"), ("liquid", "<eoi>"), ("chameleon", "<eoss>"), ("emu3", "<|image end|>")]
)
def test_a_tokenizer_without_a_token_around_pictures(kind, token, made, monkeypatch):
    base = made(kind)
    own = base.tokenizer((), ())
    vocabulary = {name: number for name, number in own.get_vocab().items() if name != token}
    monkeypatch.setattr(own, "get_vocab", lambda: vocabulary)
    monkeypatch.setattr(base, "tokenizer", lambda *args: own)
    with pytest.raises(InputError, match=f"has no {token}, which stands around pictures".replace("|", r"\|")):
        base.codec([], FORM)


@pytest.mark.parametrize("kind", ["chameleon", "emu3"])
def test_a_vocabulary_with_other_codes(kind, made, monkeypatch):
    """One is missing; one stands apart; there is no vocabulary at all."""
    base = made(kind)
    config = base._config()
    names = dict(config.vocabulary_map)
    first = code_name(0) if kind == "chameleon" else "<|visual token 000000|>"
    lacking = {name: number for name, number in names.items() if name != first}
    for vocabulary, told in (
        (lacking, f"found {CODES - 1} ids for codes of pictures, and its VQ network has {CODES} codes"),
        (names | {first: 2}, "with others between them"),
        (None, "found 0 ids for codes of pictures"),
    ):
        config.vocabulary_map = vocabulary
        monkeypatch.setattr(base, "_config", lambda: config)
        with pytest.raises(InputError, match=told):
            base.codec([], FORM)


def test_another_vq_network_has_another_name(made, written, tmp_path):
    """And a run that was trained with one is not continued with the other."""
    codec = made("liquid").codec([], FORM)
    assert made("liquid").restore_codec(codec.saved(), FORM).identity() == codec.identity()
    write_vqgan(tmp_path / "vqgan.ckpt", vqgan(seed=4))
    other = made("liquid", vq=str(tmp_path))
    assert other.codec([], FORM).codebook.name != codec.codebook.name
    with pytest.raises(
        InputError, match=r"found the VQ network vqgan-\w+, and the run was trained with codes of vqgan-"
    ):
        other.restore_codec(codec.saved(), FORM)


def test_a_text_begins_with_a_token(made, monkeypatch):
    base, own = made("liquid"), tokenizer("<boi>", "<eoi>")
    own.bos_token = None
    monkeypatch.setattr(base, "tokenizer", lambda *args: own)
    with pytest.raises(InputError, match="has no token that begins a text"):
        base.codec([], FORM)
