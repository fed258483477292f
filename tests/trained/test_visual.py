"""A run of a pretrained model of pictures, exported: other programs load it and write the same ids."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from picture_models import KINDS, SIDE
from picture_pairs import configuration

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.models import LiquidLM
from swirl_lightning.pictures import name_picture, pixels
from swirl_lightning.trained.export import export
from swirl_lightning.trained.load import load_run
from swirl_lightning.types import InputError, Transition

ACTION = "move the cup to the left"
OPENING = {"liquid": "<boi>", "chameleon": "<racm3:break>", "emu3": "<|image start|> 4 * 4 <|image token|>"}
every_kind = pytest.mark.parametrize("kind", KINDS)


class Exported:
    """A run of random adapters, written as ``swirl fit`` writes one, and what is exported of it."""

    def __init__(self, kind, root, **changes):
        (root / "run/checkpoints").mkdir(parents=True)
        self.kind, self.run = kind, root / "run"
        config = configuration(kind, KINDS[kind][1](root), SIDE, root, {"path": "data"})
        config["model"]["base"]["init_args"] |= changes
        config["model"]["max_tokens"] = 200
        (self.run / "config.yaml").write_text(yaml.safe_dump(config))
        (self.run / "results.json").write_text('{"stages": []}')
        base = KINDS[kind][0](**config["model"]["base"]["init_args"])
        codec = base.codec([], CodecForm({"": Layout()}, "full", 200))
        tensors = base.weights(codec, ["fwm", "idm", "reference"]).tensors()
        torch.manual_seed(2)  # the answers have many different ids
        state = {name: 0.2 * torch.randn_like(tensor) for name, tensor in tensors.items()}
        names = {"": Layout().markers} | dict.fromkeys(("ag", "kubric"), ("", "\nEdit:", "\nImage:\n"))
        saved = {"swirl": {"layouts": names, "codec": codec.saved()}, "state_dict": state}
        torch.save(saved, self.run / "checkpoints/last.ckpt")
        self.model = load_run(self.run)
        rng = np.random.default_rng(0)
        for name, size in (("state", (24, 40, 3)), ("next_state", (SIDE, SIDE, 3))):
            Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(root / f"{name}.png")
        x, y = (name_picture(root / f"{name}.png") for name in ("state", "next_state"))
        self.root, self.transition = root, Transition("e", 0, x, y, ACTION)
        code = self.model.codec.encode(self.transition)
        self.prompts = {"fwm": self.model.fwm.prompt(code, code.z), "idm": self.model.idm.prompt(code, code.y)}
        self.ids = {name: list(getattr(self.model, name).answer([p]).ids[0]) for name, p in self.prompts.items()}

    def export(self, name, **options):
        export(self.model, self.run, self.root / name, **options)
        return self.root / name


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Makes each kind once."""
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = Exported(kind, tmp_path_factory.mktemp(kind))
            made[kind].folder = made[kind].export("out")
        return made[kind]

    return make


def python_of(folder):
    """What the card's own Python is, for these pictures and that action."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    code = re.sub(r"^folder = .*$", lambda _: f"folder = {str(folder)!r}", code, flags=re.MULTILINE)
    return re.sub(r"^action = .*$", f"action = {ACTION!r}", code, flags=re.MULTILINE)


def ask(folder, root, monkeypatch):
    """The variables of the card's Python when it has run."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "vqgan", raising=False)
    found = {}
    try:
        exec(compile(python_of(folder), "card", "exec"), found)
    finally:
        torch.set_grad_enabled(True)
    return found


@every_kind
@pytest.mark.parametrize("merge", [False, True])
def test_the_cards_python_writes_the_runs_ids(kind, merge, exported, monkeypatch, capsys):
    """Both roles, an adapter on its base or a whole model; the picture is that of the run, to the pixel."""
    made = exported(kind)
    folder = made.export("merged", merge=True) if merge else made.folder
    assert (folder / "fwm/adapter_config.json").exists() != merge
    assert all(len(set(ids)) > 3 for ids in made.ids.values())
    found = ask(folder / "fwm", made.root, monkeypatch)
    assert tuple(found["prompt"]) == made.prompts["fwm"]
    assert found["written"] == made.ids["fwm"]
    said = made.model.codec.next_state(made.transition.state, tuple(found["written"]))
    with Image.open(made.root / "predicted.png") as image:
        assert np.array_equal(np.asarray(image), pixels(said))
    capsys.readouterr()
    assert ask(folder / "idm", made.root, monkeypatch)["written"] == made.ids["idm"]
    assert capsys.readouterr().out[:-1] == made.model.codec.text(made.ids["idm"])


def test_a_fresh_process_needs_nothing_of_this_project(exported):
    """Chameleon's Python, with all that the three families need between them."""
    made = exported("chameleon")
    told = "\nprint([m for m in sys.modules if m.startswith('swirl_lightning')], written)\n"
    code = "import sys\n" + python_of(made.folder / "fwm") + told
    done = subprocess.run([sys.executable, "-c", code], cwd=made.root, capture_output=True, text=True, check=False)
    assert done.stdout == f"[] {made.ids['fwm']}\n", done.stderr[-2000:]


def test_the_base_is_loaded_as_the_run_loaded_it(tmp_path, monkeypatch):
    """In bfloat16 and nf4, but for the VQ network: its codes are those of the run."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)  # wants larger layers than these
    made = Exported("emu3", tmp_path, dtype="bfloat16", quantize="nf4")
    found = ask(made.export("out") / "fwm", tmp_path, monkeypatch)
    dtypes = {name: p.dtype for name, p in found["base"].named_parameters() if "lora" not in name}
    assert {dtype for name, dtype in dtypes.items() if "vqmodel" in name} == {torch.float32}
    assert {dtype for name, dtype in dtypes.items() if "proj" in name and "vqmodel" not in name} == {torch.uint8}
    assert dtypes["lm_head.weight"] == torch.bfloat16
    assert tuple(found["prompt"]) == made.prompts["fwm"]
    ids = torch.tensor([made.prompts["fwm"]])
    with torch.no_grad():
        ours, theirs = (model(ids).logits.float() for model in (made.model.weights.activate("fwm"), found["model"]))
    assert (ours - theirs).abs().mean() < 0.1 * ours.std()  # rounding to bfloat16


@every_kind
def test_the_card_and_the_description_say_how_pictures_are_written(kind, exported):
    made = exported(kind)
    for role in ("fwm", "idm"):
        text = (made.folder / role / "README.md").read_text()
        said = " ".join(text.split())
        assert "scaled to 16 x 16 pixels with LANCZOS" in said
        assert f"stands between `{OPENING[kind]}` and" in said
        assert ("and nothing ends them" in said) == (role == "fwm")
        assert "Edit:" not in text  # the environments' words are not asked with
        assert max(map(len, text.split("## Use")[1].splitlines())) < 130
        whole = kind != "emu3"  # whose network lies with the base
        assert [(made.folder / role / name).exists() for name in ("vqgan.safetensors", "vqgan.py")] == [whole, whole]
    told = json.loads((made.folder / "swirl.json").read_text())
    codec, pictures = made.model.codec, told["pictures"]
    words, K = codec.words, codec.codebook.size
    ids = pictures["code_ids"] or list(range(pictures["first"], pictures["first"] + pictures["size"]))
    assert tuple(ids) == words.codes
    assert (pictures["code_ids"] is None) == (kind != "chameleon")  # whose codes are in another order
    assert (pictures["side"], pictures["rows"], pictures["columns"], len(ids)) == (SIDE, 4, 4, K)
    assert (pictures["row_end"] is None) == (kind != "emu3")
    code = codec.encode(made.transition)
    parts = told["prompts"]
    assert [*parts["fwm"]["start"], *code.x, *parts["fwm"]["action"], *code.z, *parts["fwm"]["next_state"]] == list(
        made.prompts["fwm"]
    )
    assert [*parts["idm"]["start"], *code.x, *parts["idm"]["next_state"], *code.y, *parts["idm"]["action"]] == list(
        made.prompts["idm"]
    )
    assert (told["text"]["end"], "layouts" in told) == (words.end, False)


def test_what_no_other_program_could_ask_is_refused(exported, monkeypatch):
    """A family of one's own, and a quantised base that is to be merged; nothing is left behind."""
    made = exported("liquid")

    class OwnLM(LiquidLM.__bases__[0]):
        read_codebook = words = empty_network = None

    with monkeypatch.context() as patch:
        patch.setattr(made.model, "base", OwnLM("own"))
        told = "swirl export: found a run on OwnLM, expected one on LiquidLM, ChameleonLM, Emu3LM, of which"
        with pytest.raises(InputError, match=told):
            made.export("own")
    monkeypatch.setattr(made.model.weights.model, "is_quantized", True, raising=False)
    with pytest.raises(InputError, match="--merge: found a quantised base"):
        made.export("quantised", merge=True)
    assert not (made.root / "own").exists()
    assert not (made.root / "quantised").exists()
