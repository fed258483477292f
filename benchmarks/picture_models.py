"""Random models of pictures, as folders that their libraries wrote: tiny ones of each family, and a whole Liquid.

Tests and benchmarks use them in place of weights that are not here. A code of the tiny ones stands for 4 pixels.
"""

import json

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    ChameleonVQVAEConfig,
    CLIPConfig,
    CLIPModel,
    Emu3Config,
    Emu3ForConditionalGeneration,
    GemmaConfig,
    GemmaForCausalLM,
    PreTrainedTokenizerFast,
)

from swirl_lightning.models import ChameleonLM, Emu3LM, LiquidLM, ScratchLM
from swirl_lightning.models.vq import Emu3Vq
from swirl_lightning.models.vqgan import Vqgan

SIDE, CELL, CODES = 16, 4, 24
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
LEVELS = (1, 1, 1)
VQGAN = {
    "embed_dim": 8, "num_embeddings": CODES, "latent_channels": 8, "resolution": 512, "base_channels": 32,
    "channel_multiplier": LEVELS, "num_res_blocks": 1,
}  # fmt: skip
EMU3_VQ = {
    "codebook_size": CODES, "base_channels": 32, "channel_multiplier": LEVELS, "num_res_blocks": 1,
    "attn_resolutions": (2,), "hidden_size": 32,
}  # fmt: skip
CORPUS = [" put a cat on the seat", " move the cup to the left", " What was done"] * 3


def tokenizer(*special, more=(), size=0):
    """Of bytes, with the special tokens before them and others after them.

    Args:
        special: tokens.
        more: tokens that come last.
        size: number of ids; such as are needed for it stand for nothing.
    """
    scratch = ScratchLM(vocab_size=300 + len(special))
    made = scratch.tokenizer(CORPUS, ("<bos>", *special))
    if size > len(made):
        written = json.loads(made.backend_tokenizer.to_str())
        written["model"]["vocab"] |= {f"<unused{n}>": n for n in range(len(made), size)}
        made = scratch.restore_tokenizer(json.dumps(written))
    made.bos_token = "<bos>"
    if more:
        made.add_special_tokens({"additional_special_tokens": list(more)})
    return made


def vqgan(seed=3, **changes):
    """A VQGAN whose codes differ from one another."""
    torch.manual_seed(seed)
    network = Vqgan(ChameleonVQVAEConfig(**VQGAN | changes)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return with_many_codes(network, network.vqvae.quant_conv, network.vqvae.quantize.embedding)


def with_many_codes(network, last, embedding):
    """Shift and scale what the encoder gives, so that different places of a picture have different codes."""
    found = []
    handle = last.register_forward_hook(lambda module, args, output: found.append(output))
    with torch.no_grad():
        network.codes(
            torch.rand(1, 3, SIDE, SIDE) * torch.rand(1, 3, 4, 4).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
        )
        channels = found[0].transpose(0, 1).flatten(1)
        mean, std = channels.mean(1), channels.std(1) + 1e-6
        last = getattr(last, "conv", last)
        last.weight.div_(std.view(-1, *[1] * (last.weight.ndim - 1)))
        last.bias.sub_(mean).div_(std)
        embedding.weight.normal_()
    handle.remove()
    return network


def original_names(network):
    """The weights as the original file has them."""
    halves = network.vqvae.state_dict() | {f"decoder.{k}": v for k, v in network.decoder.state_dict().items()}
    return {name: tensor.clone() for name, tensor in halves.items()}


def write_vqgan(path, network):
    torch.save({"state_dict": original_names(network) | {"loss.discriminator.weight": torch.ones(2)}}, path)
    return path


def _save(folder, model, its_tokenizer):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "vqmodel" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    its_tokenizer.save_pretrained(folder)


def write_liquid(folder, tiny=True):
    """A Gemma whose vocabulary was extended, and ``vqgan.ckpt``; tiny, or in bfloat16 of the released one's shape."""
    names = tokenizer("<boi>", "<eoi>", size=0 if tiny else 256_000)
    codes = CODES if tiny else 8192
    torch.manual_seed(0)
    if tiny:
        model = GemmaForCausalLM(GemmaConfig(vocab_size=len(names) + codes, head_dim=8, **TEXT))
    else:
        shape = {"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}  # all else is Gemma 7B's by default
        config = GemmaConfig(vocab_size=len(names) + codes, **shape)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    _save(folder / "model", model, names)
    write_vqgan(folder / "vqgan.ckpt", vqgan() if tiny else Vqgan(ChameleonVQVAEConfig()))
    return {"name": str(folder / "model"), "vq": str(folder / "vqgan.ckpt")}


def code_name(code):
    return "IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(code)) + "Z"


def write_chameleon(folder):
    """Its codes are named in another order than that of their ids, as nothing says that they are not."""
    order = [(7 * n + 3) % CODES for n in range(CODES)]
    named = tokenizer("<image>", *map(code_name, order), "<racm3:break>", "<eoss>", "<reserved08706>")
    named.sep_token = "<reserved08706>"
    vocabulary = named.get_vocab()
    torch.manual_seed(0)
    config = ChameleonConfig(vocab_size=len(named), vocabulary_map=vocabulary, vq_config=VQGAN, **TEXT)
    model = ChameleonForConditionalGeneration(config)
    network = vqgan()
    model.model.vqmodel.load_state_dict(network.vqvae.state_dict())
    _save(folder / "model", model, named)
    write_vqgan(folder / "vqgan.ckpt", network)
    return {"name": str(folder / "model"), "vq": str(folder / "vqgan.ckpt")}


def write_emu3(folder):
    """With the VQ network inside."""
    special = ("<image>", "<|image start|>", "<|image end|>", "<|image token|>", "<|extra_200|>", "<|extra_201|>")
    named = tokenizer(*special, more=[f"<|visual token {n:06d}|>" for n in range(CODES)])
    text = TEXT | {"vocab_size": len(named), "attention_dropout": 0.0}
    torch.manual_seed(0)
    config = Emu3Config(text_config=text, vq_config=EMU3_VQ, vocabulary_map=named.get_vocab())
    model = Emu3ForConditionalGeneration(config)
    network = Emu3Vq(config.vq_config)
    vq = network.vqvae = model.model.vqmodel
    with_many_codes(network, vq.quant_conv, vq.quantize.embedding)
    _save(folder / "model", model, named)
    return {"name": str(folder / "model")}


KINDS = {"liquid": (LiquidLM, write_liquid), "chameleon": (ChameleonLM, write_chameleon), "emu3": (Emu3LM, write_emu3)}


CLIP_SIDE = 8
CLIP_WORDS = ("a", "cat", "dog", "on", "the", "mat", "turn", "left")
CLIP_MEAN, CLIP_STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def make_clip(folder, positions=77):
    """A tiny random CLIP whose text tower reads so many tokens. Returns its folder as text."""
    vocabulary = {token: i for i, token in enumerate(("<pad>", "<unk>", *CLIP_WORDS, "<bos>", "<eos>"))}
    bos, eos = len(vocabulary) - 2, len(vocabulary) - 1
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing("<bos> $A <eos>", special_tokens=[("<bos>", bos), ("<eos>", eos)])
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    ).save_pretrained(folder)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=tower | {"vocab_size": len(vocabulary), "max_position_embeddings": positions, "eos_token_id": eos,
                             "bos_token_id": bos, "pad_token_id": 0},
        vision_config=tower | {"image_size": CLIP_SIDE, "patch_size": 4},
        projection_dim=12,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": CLIP_SIDE},
        "resample": 3, "do_center_crop": True, "crop_size": {"height": CLIP_SIDE, "width": CLIP_SIDE},
        "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD, "do_convert_rgb": True,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(folder)
