"""A run on pictures from its log to its uses: three lamps in a row of cells, switched one at a time."""

import contextlib
import io
import json
import re

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

from swirl_lightning.commands import main
from swirl_lightning.environments.rows import read_rows
from swirl_lightning.models.patch_network import PatchNetwork
from swirl_lightning.modules.prediction import predict_next
from swirl_lightning.pictures import name_picture, pixels, write_image
from swirl_lightning.trained.export import export
from swirl_lightning.trained.gym import WorldModelEnv
from swirl_lightning.trained.label import label
from swirl_lightning.trained.load import load_run
from swirl_lightning.trained.rollout import roll_out
from swirl_lightning.types import InputError

NAMES = ("left", "middle", "right")


def drawn(lamps):
    """Three cells of 4 pixels, bright or dark, each lamp with a colour of its own."""
    cells = np.zeros((3, 4, 4, 3), np.uint8)
    for n, lamp in enumerate(lamps):
        cells[n, 1:, 1:, n] = 250 if lamp else 60
    return cells.swapaxes(0, 1).reshape(4, 12, 3)


def world():
    """All 24 transitions: state, action, next state."""
    for number in range(8):
        lamps = [number >> n & 1 for n in range(3)]
        for n, name in enumerate(NAMES):
            after = [*lamps]
            after[n] = 1 - after[n]
            yield lamps, f"switch the {name} lamp", after


def write_log(folder, splits):
    (folder / "frames").mkdir(parents=True)
    for number in range(8):
        lamps = [number >> n & 1 for n in range(3)]
        write_image(folder / f"frames/{''.join(map(str, lamps))}.png", drawn(lamps))
    for split in splits:
        rows = [
            {
                "episode": f"{split} {n}", "step": 0, "image": f"frames/{''.join(map(str, before))}.png",
                "next_image": f"frames/{''.join(map(str, after))}.png",
                **({} if split in ("state_only", "log") else {"action": action}),
            }
            for n, (before, action, after) in enumerate(world())
        ]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module", params=["delta", "full"])
def run(request, tmp_path_factory):
    """A run that has learned the world by heart, as the command line makes it; that of changes embeds places."""
    root = tmp_path_factory.mktemp(request.param)
    write_log(root / "data", ("labelled", "state_only", "validation", "test", "log"))
    config = root / "given.yaml"
    of_changes = request.param == "delta"
    options = {"form": request.param, "places": json.dumps(of_changes), "updates": 250 if of_changes else 700}
    config.write_text(CONFIG.format(root=root, **options))
    swirl(root, "fit", f"--config={config}")
    return root / "version_0"


def swirl(folder, *args):
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        assert main([str(arg) for arg in args]) == 0
    return said.getvalue()


@pytest.fixture(scope="module")
def model(run):
    return load_run(run)


@pytest.fixture
def frames(run):
    return run.parent / "data/frames"


def test_it_was_learned(run):
    """All phases ran; exact match counts a picture by its codes, and the codebook was told to lose nothing."""
    results = json.loads((run / "results.json").read_text())
    assert [stage["phase"] for stage in results["stages"]] == ["sft", "vim", "elbo"]
    metrics = results["stages"][0]["metrics"]
    assert metrics["fwm/exact_match"] == metrics["idm/exact_match"] == 1
    assert metrics["fwm/psnr"] == 60
    assert metrics["fwm/copied"] == metrics["fwm/copy_exact_match"] == 0
    assert metrics["idm/round_trip"] == 1


def test_next_states_are_the_pictures(model, frames):
    states = [name_picture(frames / f"{''.join(map(str, before))}.png") for before, _, _ in world()]
    found = predict_next(model, states, [action for _, action, _ in world()])
    for next_state, (_, _, after) in zip(found, world(), strict=True):
        assert np.array_equal(pixels(next_state.state), drawn(after))


def test_a_rollout_goes_on_from_its_own_pictures(model, frames):
    steps = roll_out(model, name_picture(frames / "000.png"), [f"switch the {name} lamp" for name in NAMES])
    assert [pixels(step.state).tolist() for step in steps] == [
        drawn(lamps).tolist() for lamps in ((1, 0, 0), (1, 1, 0), (1, 1, 1))
    ]


def test_the_command_writes_a_strip_and_a_film(run, frames, tmp_path):
    (tmp_path / "actions.txt").write_text("".join(f"switch the {name} lamp\n" for name in NAMES))
    options = ("--state", frames / "000.png", "--actions", "actions.txt", "--out", "steps.jsonl")
    said = swirl(tmp_path, "rollout", run, *options)
    assert "strip: steps.png" in said
    with Image.open(tmp_path / "steps.gif") as film:
        assert film.n_frames == 4
    with Image.open(tmp_path / "steps.png") as image:
        row = np.asarray(image)
    width = row.shape[0] * 3  # a picture of 3 cells
    for n, lamps in enumerate(((0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1))):
        shown = row[:, n * (width + 8) : n * (width + 8) + width]
        scale = shown.shape[0] // 4
        assert np.array_equal(shown[::scale, ::scale], drawn(lamps))


@pytest.mark.parametrize("name", ["labelled.jsonl", "labelled.parquet"])
def test_a_log_is_labelled_and_can_be_read_again(model, run, tmp_path, name):
    counts = label(model, run.parent / "data/log.jsonl", tmp_path / name)
    assert counts.labelled == 24
    read = read_rows(tmp_path / name, actions=True)
    assert [t.action for t in read] == [action for _, action, _ in world()]
    assert np.array_equal(pixels(read[3].state), drawn([1, 0, 0]))


@pytest.mark.filterwarnings("ignore:.*render.*", "ignore:.*unwrapped version.*", "ignore:.*Box.*")
def test_an_agent_sees_pictures(model, frames):
    seen = []
    env = WorldModelEnv(
        model, [name_picture(frames / "000.png")], lambda x, z, y: float((y > x).any()),
        actions=[f"switch the {name} lamp" for name in NAMES],
    )  # fmt: skip
    assert isinstance(env.observation_space, gymnasium.spaces.Box)
    check_env(env, skip_render_check=True, skip_close_check=True)
    first, _ = env.reset(seed=0)
    seen.append(first)
    for name in ("left", "left"):
        observation, reward, *_ = env.step(f"switch the {name} lamp")
        seen.append((observation, reward))
    assert np.array_equal(seen[0], drawn([0, 0, 0]))
    assert np.array_equal(seen[1][0], drawn([1, 0, 0]))
    assert [reward for _, reward in seen[1:]] == [1.0, 0.0]


def test_the_report_shows_pictures_and_nothing_from_outside(run):
    page = (run / "report.html").read_text()
    assert "img-src data:" in page
    shown = re.findall(r'<img class="picture" alt="([a-z ]+)" src="([^"]*)"/>', page)
    assert {alt for alt, _ in shown} == {"state", "next state", "predicted next state"}
    assert all(uri.startswith("data:image/png;base64,") for _, uri in shown)
    row = json.loads((run / "samples.jsonl").read_text().splitlines()[0])
    assert row["predicted_next_state"] == row["next_state"]
    row["pictures"]["state"] = 'data:image/png;base64,AA" onerror="alert(1)'
    (run / "samples.jsonl").write_text(json.dumps(row) + "\n")
    swirl(run, "report", run)
    page = (run / "report.html").read_text()
    assert "onerror" not in page
    assert page.count('<img class="picture"') == 2


def test_tensorboard_shows_pictures(run):
    events = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    tags = events.Tags()["images"]
    assert len(tags) == 4
    assert [image.step for image in events.Images(tags[0])] == [1, 2, 3]


def test_the_run_can_be_tested_again(run):
    """The codec comes from the checkpoint."""
    config, checkpoint = run / "config.yaml", run / "checkpoints/last.ckpt"
    said = swirl(run.parent, "test", f"--config={config}", f"--ckpt_path={checkpoint}")
    last = json.loads((run / "results.json").read_text())["stages"][-1]["metrics"]
    found = re.search(r"fwm/exact_match\W+([0-9.]+)", said)
    assert float(found[1]) == pytest.approx(last["fwm/exact_match"])


@pytest.fixture(scope="module")
def exported(model, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    export(model, run, out)
    return out


@pytest.mark.parametrize("role", ["fwm", "idm"])
def test_whole_models_load_with_transformers_alone(model, exported, role):
    """Embeddings of places are written out in them; the same logits for every id, 1e-5."""
    policy = getattr(model, role).policy
    ids = torch.arange(model.codec.num_ids)[None]
    loaded = AutoModelForCausalLM.from_pretrained(exported / role)
    with torch.no_grad():
        expected = policy.weights.activate(policy.name)(input_ids=ids).logits
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected, rtol=0, atol=1e-5)


def run_snippet(folder, place, monkeypatch, capsys, **known):
    """What the card's own Python prints, in a folder with the pictures."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    for name, value in {"folder": str(folder), **known}.items():
        code, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", code, flags=re.MULTILINE)
        assert count == 1
    monkeypatch.chdir(place)
    capsys.readouterr()
    exec(compile(code, "card", "exec"), {})
    return capsys.readouterr().out[:-1]


def test_the_cards_python_asks_as_the_run_does(exported, frames, tmp_path, monkeypatch, capsys):
    """Both roles, on the files of two pictures: the learned world's answers, without this project."""
    for before, action, after in list(world())[3:9]:
        write_image(tmp_path / "state.png", drawn(before))
        write_image(tmp_path / "next_state.png", drawn(after))
        run_snippet(exported / "fwm", tmp_path, monkeypatch, capsys, action=action)
        with Image.open(tmp_path / "predicted.png") as image:
            assert np.array_equal(np.asarray(image), drawn(after))
        assert run_snippet(exported / "idm", tmp_path, monkeypatch, capsys) == " " + action


def test_the_card_says_what_the_codes_are(model, exported):
    codec = model.codec
    for role in ("fwm", "idm"):
        text = (exported / role / "README.md").read_text()
        assert "A state is a picture of 12 x 4 pixels, cut into 1 x 3 cells of 4 x 4" in text
        formula = "300 + place * 12 + code" if codec.placed else "300 + code"
        assert f"`{formula}`" in text
        assert ("each cell that" in text or "cells that change" in text) == (codec.state_form == "delta")
        with np.load(exported / role / "codebook.npz") as file:
            assert np.array_equal(file["tiles"], codec.codebook.tiles_NSS3)
    told = json.loads((exported / "swirl.json").read_text())["pictures"]
    assert told == {
        "rows": 1, "columns": 3, "cell": 4, "first": 300, "size": 12, "codebook": "codebook.npz",
        "ids_say_places": codec.placed, "end": codec.end,
    }  # fmt: skip


def test_a_codebook_that_other_programs_cannot_load_is_refused(model, run, tmp_path, monkeypatch):
    monkeypatch.setattr(model.codec, "codebook", PatchNetwork(torch.randn(12, 3 * 4**2), 4).finish())
    with pytest.raises(InputError, match="swirl export: found a codebook that is a PatchNetwork, expected one that"):
        export(model, run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


CONFIG = """
seed_everything: 0
trainer:
  accelerator: cpu
  default_root_dir: {root}
  enable_progress_bar: false
  warmup: [{{phase: sft, updates: {updates}, learning_rate: 5.0e-3}}]
  iteration: [{{phase: vim, updates: 2}}, {{phase: elbo, updates: 2}}]
  iterations: 1
  callbacks: [{{class_path: swirl_lightning.callbacks.RoundTrip}}]
model:
  base:
    class_path: swirl_lightning.models.ScratchPictureLM
    init_args: {{picture_size: [12, 4], cell: 4, codes: 12, hidden_size: 64, vocab_size: 300, places: {places}}}
  state_form: {form}
  max_tokens: 60
  fwm:
    class_path: swirl_lightning.modules.ForwardWorldModel
    init_args: {{max_new_tokens: 4, learning_rate: 1.0e-5, grpo: {{group_size: 4}}}}
  idm:
    class_path: swirl_lightning.modules.InverseDynamicsModel
    init_args: {{max_new_tokens: 12, learning_rate: 1.0e-5, grpo: {{group_size: 4}}}}
data:
  class_path: swirl_lightning.environments.log.LogDataModule
  init_args: {{path: {root}/data, batch_size: 24}}
"""
