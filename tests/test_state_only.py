"""No action of the state-only half, and none of the held-out splits, takes any part in training."""

import gzip
import itertools
import json
import types
from pathlib import Path

import pytest
import torch

from swirl_lightning.commands import main
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.textworld.datamodule import QUICKSTART
from swirl_lightning.models import Policy
from swirl_lightning.modules import SWIRL

CONFIG = Path(__file__).parents[1] / "configs/debug.yaml"
TIMED = ("share_generation", "share_scoring", "share_update", "tokens_per_second")
POISON = {"state_only": "QJX{} the jinx", "validation": "ZKV{} the vex", "test": "ZKV{} the vex"}
PHASES = {"pretrain", "sft", "bootstrap", "vim", "elbo"}
POISONED = pytest.mark.filterwarnings("ignore:.*the state-only half has 400 actions")


def write_data(folder, poison):
    """The first rows of the packaged data; ``poison`` holds, by split, what every action is replaced by."""
    for path in QUICKSTART.glob("*.jsonl.gz"):
        split = path.name.split(".")[0]
        with gzip.open(path, "rt") as lines:
            rows = [json.loads(line) for line in itertools.islice(lines, 400)]
        for number, row in enumerate(rows):
            if split in poison:
                row["action"] = poison[split].format(number)
        (folder / path.stem).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def poisoned_data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("poisoned_data"), POISON)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, poisoned_data):
    """The folders of a run on clean data and of one on poisoned data, and what the models saw in the second one."""
    folders = []
    for data in (write_data(tmp_path_factory.mktemp("data"), {}), poisoned_data):
        folders.append(tmp_path_factory.mktemp("run"))
        with pytest.MonkeyPatch.context() as patch:
            seen = spy(patch)
            bootstrap = "--trainer.iteration+={phase: bootstrap, updates: 4}"
            quiet = "--trainer.enable_progress_bar=false"
            options = [f"--trainer.default_root_dir={folders[-1]}", f"--data.root={data}", bootstrap, quiet]
            assert main(["fit", f"--config={CONFIG}", *options]) == 0
    return folders[0] / "version_0", folders[1] / "version_0", seen


def spy(patch):
    """Notes all that reaches a model in training: by phase, the texts of the ids."""
    seen = {phase: [] for phase in PHASES}
    now = types.SimpleNamespace(texts=None, tokenizer=None)
    step, generate = SWIRL.training_step, Policy.generate

    def spied_step(self, batch, batch_idx):
        phase = self.trainer.fit_loop.current.phase.name
        now.texts, now.tokenizer = seen[phase], self.codec.tokenizer
        result = step(self, batch, batch_idx)
        now.texts = None
        return result

    def note(ids):
        if now.texts is not None:
            now.texts.extend(map(now.tokenizer.decode, ids))

    def spied_generate(self, prompts, *args, **kwargs):
        note(prompts)
        return generate(self, prompts, *args, **kwargs)

    def spied(scoring):
        def wrapper(self, prompts, prompt_of_N, rows, *args, **kwargs):
            note(prompts[p] + tuple(row) for p, row in zip(prompt_of_N.tolist(), rows, strict=True))
            return scoring(self, prompts, prompt_of_N, rows, *args, **kwargs)

        return wrapper

    patch.setattr(SWIRL, "training_step", spied_step)
    patch.setattr(Policy, "generate", spied_generate)
    for name in ("logprobs", "accumulate"):
        patch.setattr(Policy, name, spied(getattr(Policy, name)))
    return seen


def checkpoint(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)


def history(run):
    rows = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


@POISONED
def test_actions_of_a_state_only_file_are_dropped_at_the_door(poisoned_data):
    data = LogDataModule(poisoned_data)
    data.setup()
    assert len(data.state_only) == 400
    assert {t.action for t in data.state_only} == {None}
    assert all(t.action.startswith("ZKV") for t in data.test)


@pytest.mark.filterwarnings("ignore:.*the state-only half has")
def test_actions_of_a_file_without_splits_are_dropped_too(poisoned_data):
    data = LogDataModule(poisoned_data / "state_only.jsonl")
    data.setup()
    assert {t.action for t in data.state_only} == {None}
    assert all(t.action for t in data.labelled + data.validation + data.test)


@POISONED
def test_weights_are_bit_equal_whatever_the_actions_are(runs):
    clean, poisoned = (checkpoint(run) for run in runs[:2])
    assert clean["swirl"]["codec"] == poisoned["swirl"]["codec"]
    assert clean["state_dict"].keys() == poisoned["state_dict"].keys()
    for name, tensor in clean["state_dict"].items():
        assert torch.equal(tensor, poisoned["state_dict"][name]), name
    torch.testing.assert_close(clean["optimizer_states"], poisoned["optimizer_states"], rtol=0, atol=0)


def test_training_history_is_equal_whatever_the_actions_are(runs):
    assert len(history(runs[0])) == 36
    assert history(runs[0]) == history(runs[1])


def test_held_out_actions_are_what_answers_are_scored_by(runs):
    clean, poisoned = (json.loads((run / "results.json").read_text())["stages"] for run in runs[:2])
    assert clean[-1]["metrics"]["idm/logp"] != poisoned[-1]["metrics"]["idm/logp"]


@pytest.mark.parametrize("phase", sorted(PHASES))
def test_models_never_see_them_in_training(runs, phase):
    texts = runs[2][phase]
    assert texts, "the spy saw nothing"
    assert not [text for text in texts if "QJX" in text or "ZKV" in text]


def test_pretraining_sees_no_action_at_all(runs):
    assert not [text for text in runs[2]["pretrain"] if "\nAction:" in text]


def test_labelled_actions_are_seen(runs):
    """The spy would see an action if there was one."""
    assert [text for text in runs[2]["sft"] if "\nAction: take" in text]
