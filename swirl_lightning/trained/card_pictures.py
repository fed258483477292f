"""What the model card of a role says where states are pictures: what the codes are, and Python that asks it."""

from __future__ import annotations

from typing import Any

from swirl_lightning.codecs import Codec
from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.codecs.tiles import CODEBOOK, Tiles
from swirl_lightning.types import Role, StateForm

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


def form(codec: PictureCodec, role: Role, written: StateForm) -> str:
    """What a state is, and what the role reads or writes of a next state."""
    assert isinstance(codec.codebook, Tiles)  # all that is exported
    end = f"; the id {codec.end} ends it" if role == "fwm" else ""
    return FORM.format(
        **_shape(codec), codebook=CODEBOOK, spare=codec.codebook.size - len(codec.codebook.tiles_NSS3),
        width=codec.size[0], height=codec.size[1],
        ids=IDS[codec.placed].format(**_shape(codec)), written=WRITTEN[written].format(end=end),
    )  # fmt: skip


def snippet(
    codec: PictureCodec, name: Role, words: tuple[str, str, str], begin: str, imports: str, load: str, most: int
) -> str:
    """Python that asks a role.

    Args:
        codec: of the model.
        name: the role.
        words: the layout's, as Python literals.
        begin: what makes the first ids of a prompt.
        imports: lines that the loading needs.
        load: lines that load the model.
        most: longest answer.
    """
    _, action, next_state = words
    answer, end = codec.answers[name], codec.answers[name].end
    stops = f"max_new_tokens={answer.steps(most)}, eos_token_id={end}"
    prompts = {
        "fwm": f'words({action}) + words(" " + action) + words({next_state})',
        "idm": f"words({next_state}) + as_ids(read) + words({action})",
    }
    unended = "" if end is None else f" or written[-1] != {end}"
    said = ANSWER["idm" if name == "idm" else "places" if codec.placed else "codes"].format(end=end, unended=unended)
    return PYTHON.format(
        **_shape(codec), name=name, codebook=CODEBOOK, begin=begin, imports=imports, load=load,
        place="place * size + " if codec.placed else "", prompt=prompts[name],
        known=KNOWN[name].format(read=READ[codec.read_form]),
        allowed=f"{answer.rows.start}, {answer.rows.stop}", stop=stops,
        pad=codec.eos if end is None else end, answer=said,
    )  # fmt: skip


def description(codec: Codec) -> dict[str, Any]:
    """The same for programs; nothing where states are texts."""
    if not isinstance(codec, PictureCodec):
        return {}
    return {"pictures": _shape(codec) | {"codebook": CODEBOOK, "ids_say_places": codec.placed, "end": codec.end}}


def _shape(codec: PictureCodec) -> dict[str, int]:
    codebook = codec.codebook
    return {
        "rows": codec.rows, "columns": codec.columns, "cell": codebook.cell, "first": codec.first,
        "size": codebook.size,
    }  # fmt: skip
