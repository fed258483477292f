"""An option that is null and may not be is refused where it belongs to a class that the configuration names, too."""

import pytest

from swirl_lightning.commands import main

CONFIG = """
trainer:
  accelerator: cpu
  logger: false
  default_root_dir: {root}/run
  enable_progress_bar: false
  callbacks:
    - class_path: swirl_lightning.callbacks.PhaseCheckpoint
      init_args: {{every_n_updates: {every}}}
model:
  base: {{class_path: swirl_lightning.models.PretrainedLM, init_args: {{name: {root}/base, {base}}}}}
  fwm: {{class_path: ForwardWorldModel, init_args: {{max_new_tokens: 4}}}}
  idm: {{class_path: InverseDynamicsModel, init_args: {{max_new_tokens: 4, {idm}}}}}
data: {{class_path: LogDataModule, init_args: {{path: {root}/log.jsonl, {data}}}}}
"""
FINE = {"every": "2", "base": "quantize: none", "idm": "prior: state", "data": "num_labels: null"}


@pytest.fixture
def told(tmp_path, capsys):
    """The last line of ``swirl fit`` with other values; that there is no log is told when all options are fine."""

    def run(*options, **values):
        (tmp_path / "c.yaml").write_text(CONFIG.format(root=tmp_path, **FINE | values))
        assert main(["fit", f"--config={tmp_path / 'c.yaml'}", *options]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"base": "quantize: null"}, "--model.base.quantize: found null, expected one of none, int8, nf4"),
        ({"base": "lora_rank: null"}, "--model.base.lora_rank: found null, expected int"),
        ({"base": "gradient_checkpointing: null"}, "--model.base.gradient_checkpointing: found null, expected bool"),
        ({"idm": "prior: null"}, "--model.idm.prior: found null, expected one of posterior, state"),
        ({"data": "batch_size: null"}, "--data.batch_size: found null, expected int"),
        ({"every": "null"}, "--trainer.callbacks.every_n_updates: found null, expected int"),
    ],
)
def test_null_is_refused(values, line, told):
    assert told(**values) == f"error: {line}; leave the option out for its default"


@pytest.mark.parametrize("values", [{}, {"data": "num_label_episodes: null"}, {"data": "eval_limit: null"}])
def test_null_is_taken_where_it_is_a_value(values, told):
    assert "log.jsonl: no such file" in told(**values)


def test_a_checkpoint_without_a_name_is_none(told):
    assert told("--ckpt_path=") == "error: --ckpt_path: . is a folder; expected a .ckpt file of a run"
