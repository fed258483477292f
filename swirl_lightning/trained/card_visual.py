"""What the model card of a role says of a pretrained model of pictures: how it writes them, and Python that asks it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from swirl_lightning.codecs.visual import VisualCodec
from swirl_lightning.models.visual import ChameleonLM, Emu3LM, LiquidLM, PretrainedPictureLM
from swirl_lightning.models.vq import VQGAN, VqCodebook, VqNetwork
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.pictures import PAD
from swirl_lightning.trained.card_states import StateCard
from swirl_lightning.trained.facts import Facts
from swirl_lightning.types import InputError

FORM = (
    "A state is a picture of any size. It is padded to a square with the colour {pad}, itself in the middle, and "
    "scaled to {side} x {side} pixels with LANCZOS. A VQ network gives it {rows} x {columns} codes of {size}, and "
    "makes pixels of codes again. {where}",
    "{ids}; {row_end}. A picture in a prompt stands between {opening} and {closing}. {written}",
)
WRITTEN = {
    "fwm": "A next state is written as these {length} ids, row by row, and nothing ends them.",
    "idm": "A next state is read as a picture too.",
}
FILE = (
    f"The network is a VQGAN of Chameleon's kind; `{VQGAN}` in this folder is a copy of the run's own, under the "
    "licence that it came with. transformers has the half of it that makes codes; both halves stand in `vqgan.py` in "
    "this folder, which needs torch and transformers alone."
)
INSIDE = "The network lies in the folder of the base model, or in this one where it is a whole model."


@dataclass(frozen=True)
class Family:
    """How Python reads and writes the pictures of a family.

    Args:
        where: the VQ network, in words.
        network: lines that make it, as ``vq``.
        encode: codes of pixels ``x``.
        decode: pixels of ``codes``.
        ids: lines that make ``id_of``, the id of each code.
        imports: lines that ``network`` needs; a module of this folder comes with them.
        before: lines before the model is loaded.
    """

    where: str
    network: str
    encode: str
    decode: str
    ids: str
    imports: str = ""
    before: str = ""


MAPPED = "id_of = [base.model.vocabulary_mapping.img2bpe[code] for code in range({size})]\n"
LIQUID = Family(
    where=FILE,
    network=f"""\
sys.path.insert(0, folder)
from vqgan import Vqgan, vqgan_config

weights = load_file(f"{{folder}}/{VQGAN}")
vq = Vqgan(vqgan_config(weights))
vq.load(weights)
vq.eval().to(model.device)
""",
    encode="vq.codes(x)",
    decode="vq.picture(codes)",
    ids="id_of = list(range({first}, {first} + {size}))\n",
    imports="from safetensors.torch import load_file\n",
)
CHAMELEON = replace(
    LIQUID, ids=MAPPED + "base.model.vocabulary_mapping.image_tokens = []  # else no code has a logit\n"
)
EMU3 = Family(
    where=INSIDE,
    network="vq = base.model.vqmodel\n",
    encode="vq.encode(x, [x.shape[2:]], return_dict=True).image_tokens[0]",
    decode="vq.decode(codes[None])",
    ids=MAPPED,
    before='Emu3ForConditionalGeneration._keep_in_fp32_modules_strict = {"vqmodel"}  # as in training\n',
)
FAMILIES: dict[type, Family] = {LiquidLM: LIQUID, ChameleonLM: CHAMELEON, Emu3LM: EMU3}
PYTHON = '''\
{system}import numpy as np
import torch
{imports}from PIL import Image
{more}from transformers import {classes}

folder = "{name}"  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
{before}{load}
model.generation_config = GenerationConfig()  # penalties and lengths of the base's own were not there in training
{device}torch.set_grad_enabled(False)
{network}{ids}code_of = {{token: code for code, token in enumerate(id_of)}}
side, rows, columns = {side}, {rows}, {columns}
begin = {begin}  # {begin_tokens}
opening = {opening}  # {opening_tokens}
closing = {closing}  # {closing_tokens}
row_end = {row_end}  # {row_end_tokens}
mean = torch.tensor({mean}, device=model.device).view(1, 3, 1, 1)
std = torch.tensor({std}, device=model.device).view(1, 3, 1, 1)


def read(file):
    """The codes of an image file. [rows, columns]"""
    with Image.open(file) as image:
        longest = max(image.size)
        square = Image.new("RGB", (longest, longest), {pad})
        square.paste(image.convert("RGB"), ((longest - image.width) // 2, (longest - image.height) // 2))
    pixels = np.array(square.resize((side, side), Image.Resampling.LANCZOS))
    x = (torch.tensor(pixels, device=model.device).permute(2, 0, 1)[None].float() / 255 - mean) / std
    return {encode}


def picture(codes):
    """The image of codes."""
    x = 255 * ({decode} * std + mean)
    return Image.fromarray(x.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).cpu().numpy())


def ids(codes):
    """A picture as ids."""
    return [i for row in codes.tolist() for i in [*(id_of[code] for code in row), *row_end]]


def words(text, **options):
    return tokenizer(text, add_special_tokens=False, **options).input_ids


state = read("state.png")
{known}
prompt = (
    begin + opening + ids(state) + closing
    {prompt}
)
allowed = list(range({allowed}))  # nothing else was there in training


def choices(row, so_far):
    """What may be written next."""
    return {choices}


written = model.generate(
    input_ids=torch.tensor([prompt], device=model.device),
    attention_mask=torch.ones(1, len(prompt), dtype=torch.long, device=model.device),
    do_sample=False, {stop}, pad_token_id={pad_id}, prefix_allowed_tokens_fn=choices,
)[0, len(prompt):].tolist()  # greedy
{answer}'''
DEVICE = '# where there is a GPU: model.to("cuda")\n'
KNOWN = {"fwm": 'action = "put a cat on the seat"', "idm": 'next_state = read("next_state.png")'}
CHOICES = {
    "fwm": "row_end if (len(so_far) - len(prompt)) % (columns + len(row_end)) == columns else allowed",
    "idm": "allowed",
}
ANSWER = {
    "fwm": """\
codes = torch.tensor([code_of[i] for i in written if i in code_of], device=model.device).view(rows, columns)
picture(codes).save("predicted.png")""",
    "idm": """\
if written[-1] == {end}:
    written.pop()  # the end
print(tokenizer.decode(written))""",
}


class VisualCard(StateCard):
    """States are pictures in the words of a pretrained model.

    Args:
        model: of the run.

    Raises:
        InputError: its base is of no known family.
    """

    def __init__(self, model: SWIRL) -> None:
        super().__init__(model)
        assert isinstance(model.codec, VisualCodec)
        assert isinstance(model.codec.codebook, VqCodebook)
        self.codec: VisualCodec = model.codec
        self.network: VqNetwork = model.codec.codebook.network
        family = next((FAMILIES[kind] for kind in type(model.base).__mro__ if kind in FAMILIES), None)
        if family is None or not isinstance(model.base, PretrainedPictureLM):
            raise InputError(
                f"swirl export: found a run on {type(model.base).__name__}, expected one on "
                f"{', '.join(kind.__name__ for kind in FAMILIES)}, of which it is known how other programs ask them; "
                "use the run itself, with swirl_lightning.trained"
            )
        self.base: PretrainedPictureLM = model.base
        self.family = family

    def form(self, role: GRPOMixin) -> str:
        """How a picture is written, and where the VQ network is."""
        codec, words = self.codec, self.codec.words
        first, last = words.first, words.first + codec.codebook.size - 1
        row_end = "nothing ends a row" if words.row_end is None else f"the id {words.row_end} ends each row"
        ids = f"The code `c` has the id `{first} + c`" if self._in_order() else (
            f"The codes have the ids from {first} to {last}, in the order of `code_ids` in `swirl.json`"
        )  # fmt: skip
        told = {
            "pad": PAD, "side": codec.size[0], "where": self.family.where, "rows": codec.rows, "columns": codec.columns,
            "size": codec.codebook.size, "ids": ids, "row_end": row_end,
            "opening": f"`{self._tokens(words.opening)}`", "closing": f"`{self._tokens(words.closing)}`",
            "written": WRITTEN[role.role].format(length=codec.answers["fwm"].length),
        }  # fmt: skip
        lines = textwrap.TextWrapper(120, break_long_words=False, break_on_hyphens=False)
        return "\n\n".join(lines.fill(part.format(**told)) for part in FORM)

    def snippet(self, role: GRPOMixin, facts: Facts) -> str:  # noqa: D102
        name, codec, family, words = role.role, self.codec, self.family, self.codec.words
        answer, end = codec.answers[name], codec.answers[name].end
        auto_class = self.base.model_class.__name__
        imports, load = facts.loading(auto_class, self._given(role))
        if not facts.adapter:
            load += "\nbase = model"
        forward, inverse = (repr(f"\n{text}") for text in (self.base.forward_template, self.base.inverse_template))
        turn = f" + {list(words.turn)}" if words.turn else ""
        prompts = {
            "fwm": f'+ words({forward}) + words(" " + action, split_special_tokens=True){turn} + opening',
            "idm": f"+ opening + ids(next_state) + closing + words({inverse}){turn}",
        }
        quantised = ["BitsAndBytesConfig"] if self.base.quantize != "none" else []
        row_end = [] if words.row_end is None else [words.row_end]
        return PYTHON.format(
            system="import sys\n\n" if family.imports else "", imports=imports, more=family.imports,
            classes=", ".join(sorted(["AutoTokenizer", "GenerationConfig", auto_class, *quantised])), name=name,
            before=family.before, load=load, device="" if quantised else DEVICE, network=family.network,
            ids=family.ids.format(first=words.first, size=codec.codebook.size), side=codec.size[0], rows=codec.rows,
            columns=codec.columns, begin=list(words.begin), begin_tokens=self._tokens(words.begin),
            opening=list(words.opening), opening_tokens=self._tokens(words.opening), closing=list(words.closing),
            closing_tokens=self._tokens(words.closing), row_end=row_end,
            row_end_tokens=self._tokens(row_end) or "nothing", mean=self.network.mean, std=self.network.std, pad=PAD,
            encode=family.encode, decode=family.decode, known=KNOWN[name], prompt=prompts[name],
            allowed=f"{answer.rows.start}, {answer.rows.stop}", choices=CHOICES[name],
            stop=f"max_new_tokens={answer.steps(role.max_new_tokens)}, eos_token_id={end}",
            pad_id=words.end, answer=ANSWER[name].format(end=words.end),
        )  # fmt: skip

    def layouts(self) -> str:
        """The words are the model's own, for all environments."""
        return "`swirl.json` in the folder above says the same to programs."

    def description(self) -> dict[str, Any]:
        """How pictures are written, and the ids of prompts, between which the parts come."""
        codec, words = self.codec, self.codec.words
        return {
            "pictures": {
                "side": codec.size[0], "rows": codec.rows, "columns": codec.columns, "cell": codec.codebook.cell,
                "first": words.first, "size": codec.codebook.size,
                "code_ids": None if self._in_order() else list(words.codes),
                "row_end": words.row_end, "opening": words.opening, "closing": words.closing, "padding": PAD,
                "codebook": codec.codebook.name, "vq": VQGAN if self.family.where == FILE else None,
            },
            "text": {"first": words.text[0], "last": words.text[1], "end": words.end},
            "templates": {"fwm": self.base.forward_template, "idm": self.base.inverse_template},
            "prompts": {
                "fwm": dict(zip(("start", "action", "next_state"), words.prompts.fwm, strict=True)),
                "idm": dict(zip(("start", "next_state", "action"), words.prompts.idm, strict=True)),
            },
        }  # fmt: skip

    def _in_order(self) -> bool:
        words = self.codec.words
        return words.codes == tuple(range(words.first, words.first + len(words.codes)))

    def _given(self, role: GRPOMixin) -> str:
        """Arguments that load the base as the run did."""
        weights = self.model.weights.activate(role.policy.name).get_input_embeddings().weight
        options = self.base.quantization(weights.dtype)
        quantised = ", ".join(f"{key}={value!r}" for key, value in options.items())
        return f", dtype={weights.dtype}" + (
            f", quantization_config=BitsAndBytesConfig({quantised})" if options else ""
        )

    def _tokens(self, ids: Sequence[int]) -> str:
        return " ".join(self.codec.tokenizer.convert_ids_to_tokens(list(ids)))
