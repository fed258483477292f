"""What the model card of a role says where states are pictures: what the codes are, and Python that asks it."""

from __future__ import annotations

from typing import Any

from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.codecs.tiles import CODEBOOK, Tiles
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.trained.card_states import StateCard
from swirl_lightning.trained.facts import Facts

FORM = """\
A state is a picture of {width} x {height} pixels, cut into {rows} x {columns} cells of {cell} x {cell}, row by row.
Each cell has one of {size} codes: `{codebook}` in this folder holds their pixels, as the array `tiles` [codes, {cell},
{cell}, 3], and a cell has the code of the tile that is nearest to it. Of the codes, {spare} stand for nothing and are
black. The model's ids from {first} on are codes: {ids}. Ids below are text. {written}"""
IDS = {
    True: "`{first} + place * {size} + code`, where the first cell has the place 0",
    False: "`{first} + code`",
}
WRITTEN = {
    "full": "A next state is written as the codes of all cells.",
    "delta": "A change is written as the ids of the cells that change, in the order of their places{end}.",
}
PYTHON = '''\
import numpy as np
import torch
{imports}from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

folder = "{name}"  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
{load}
model.generation_config = GenerationConfig()  # penalties and lengths of the base's own were not there in training
tiles = np.load(f"{{folder}}/{codebook}")["tiles"]
rows, columns, cell = {rows}, {columns}, {cell}
first, size = {first}, {size}  # id of the first code, and their number


def words(text):
    return tokenizer(text, add_special_tokens=False).input_ids


def codes(file):
    """The code of each cell of an image file."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"), float).reshape(rows, cell, columns, cell, 3)
    cells, flat = pixels.swapaxes(1, 2).reshape(rows * columns, -1), tiles.reshape(len(tiles), -1).astype(float)
    return ((flat**2).sum(1) - 2 * cells @ flat.T).argmin(1).tolist()


def picture(codes):
    """The image of codes."""
    known = np.concatenate([tiles, np.zeros((size - len(tiles), *tiles.shape[1:]), np.uint8)])
    cells = known[np.array(codes).reshape(rows, columns)].swapaxes(1, 2)
    return Image.fromarray(cells.reshape(rows * cell, columns * cell, 3))


def as_ids(cells):
    """The ids of some cells, given as pairs of place and code."""
    return [first + {place}code for place, code in cells]


state = codes("state.png")
{known}
prompt = {begin} + as_ids(enumerate(state)) + {prompt}
allowed = list(range({allowed}))  # nothing else was there in training
written = model.generate(
    input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
    do_sample=False, {stop}, pad_token_id={pad},
    prefix_allowed_tokens_fn=lambda row, ids: allowed,
)[0, len(prompt):].tolist()  # greedy
{answer}'''
KNOWN = {
    "fwm": 'action = "switch the lamp on"',
    "idm": 'next_state = codes("next_state.png")\nread = {read}',
}
READ = {
    "full": "enumerate(next_state)",
    "delta": "[(place, code) for place, code in enumerate(next_state) if code != state[place]]",
}
ANSWER = {
    "idm": "print(tokenizer.decode(written, skip_special_tokens=True))",
    "codes": 'picture([i - first for i in written]).save("predicted.png")',
    "places": """\
cells = [divmod(i - first, size) for i in written if i != {end}]
places = [place for place, _ in cells]
if places != sorted(set(places)){unended}:
    raise SystemExit("it wrote no picture: cells are out of order, or there is no end")
for place, code in cells:
    state[place] = code
picture(state).save("predicted.png")""",
}  # fmt: skip


class PictureCard(StateCard):
    """States are pictures, in codes of tiles.

    Args:
        model: of the run.
    """

    def __init__(self, model: SWIRL) -> None:
        super().__init__(model)
        assert isinstance(model.codec, PictureCodec)
        self.codec: PictureCodec = model.codec

    def form(self, role: GRPOMixin) -> str:
        """What the codes are and how they are written."""
        codec, shape, tiles = self.codec, self._shape(), self.codec.codebook
        assert isinstance(tiles, Tiles)  # all that is exported
        end = f"; the id {codec.end} ends it" if role.role == "fwm" else ""
        return FORM.format(
            **shape, codebook=CODEBOOK, spare=tiles.size - len(tiles.tiles_NSS3), width=codec.size[0],
            height=codec.size[1], ids=IDS[codec.placed].format(**shape),
            written=WRITTEN[codec.form_of(role.role)].format(end=end),
        )  # fmt: skip

    def snippet(self, role: GRPOMixin, facts: Facts) -> str:  # noqa: D102
        name, codec = role.role, self.codec
        begin, action, next_state = self.words()
        imports, load = facts.loading()
        answer, end = codec.answers[name], codec.answers[name].end
        prompts = {
            "fwm": f'words({action}) + words(" " + action) + words({next_state})',
            "idm": f"words({next_state}) + as_ids(read) + words({action})",
        }
        unended = "" if end is None else f" or written[-1] != {end}"
        said = ANSWER["idm" if name == "idm" else "places" if codec.placed else "codes"]
        return PYTHON.format(
            **self._shape(), name=name, codebook=CODEBOOK, begin=begin, imports=imports, load=load,
            place="place * size + " if codec.placed else "", prompt=prompts[name],
            known=KNOWN[name].format(read=READ[codec.read_form]),
            allowed=f"{answer.rows.start}, {answer.rows.stop}",
            stop=f"max_new_tokens={answer.steps(role.max_new_tokens)}, eos_token_id={end}",
            pad=codec.eos if end is None else end, answer=said.format(end=end, unended=unended),
        )  # fmt: skip

    def description(self) -> dict[str, Any]:
        """What the codes are, too."""
        pictures = {"codebook": CODEBOOK, "ids_say_places": self.codec.placed, "end": self.codec.end}
        return {"pictures": self._shape() | pictures} | super().description()

    def _shape(self) -> dict[str, int]:
        codec, codebook = self.codec, self.codec.codebook
        return {
            "rows": codec.rows, "columns": codec.columns, "cell": codebook.cell, "first": codec.first,
            "size": codebook.size,
        }  # fmt: skip
