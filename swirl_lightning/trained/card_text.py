"""What the model card of a role says where states are texts: the edits that are written, and Python that asks it."""

from __future__ import annotations

from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.trained.card_states import StateCard
from swirl_lightning.trained.facts import Facts

FORMS = {
    "delta": """The change is an edit of the state, a line for each step; where nothing changes it is empty. A state of
sorted, distinct lines is a set of facts, whose order means nothing:

| line | what it does |
| --- | --- |
| `- text` | this line goes |
| `+ text` | this line comes |

Any other text is walked down from its top:

| line | what it does |
| --- | --- |
| `= text` | go down behind the next line that reads so; it and all lines on the way stay |
| `- text` | go down to the next line that reads so; it goes |
| `~ text` | the lines from here down to the next line that reads so go, it too |
| `+ text` | this line comes here |
| `@ end` | go down to the end |
| `@ 3` | go down to line 3, counted from 0 |

An edit that begins with `=` or `@` is read the second way, whatever the state. Python:
`swirl_lightning.codecs.decode_delta(state, change)`.""",
    "full": "Each line of a state begins with a space.",
}
EXAMPLES = {
    "delta": 'change = "- the lamp is off\\n+ the lamp is on"',
    "full": 'change = indent("the door is shut\\nthe lamp is on")',
}


class TextCard(StateCard):
    """States are texts."""

    def form(self, role: GRPOMixin) -> str:
        """The edits that are written, or how a whole state is."""
        return FORMS[self.model.codec.form_of(role.role)]

    def snippet(self, role: GRPOMixin, facts: Facts) -> str:  # noqa: D102
        name, eos = role.role, self.model.codec.tokenizer.eos_token_id
        first, action, next_state = self.words()
        imports, load = facts.loading()
        known, prompt = {
            "fwm": ('action = "switch the lamp on"', f"words({action}) + ids(indent(action)) + words({next_state})"),
            "idm": (EXAMPLES[self.model.codec.read_form], f"words({next_state}) + ids(change) + words({action})"),
        }[name]
        return f'''\
import torch
{imports}from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

folder = "{name}"  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
{load}
model.generation_config = GenerationConfig()  # penalties and lengths of the base's own were not there in training


def words(text):
    return tokenizer(text, add_special_tokens=False).input_ids


def ids(text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


def indent(text):
    return "\\n".join(" " + line for line in text.split("\\n"))


state = "the door is shut\\nthe lamp is off"
{known}
prompt = {first} + ids(indent(state)) + {prompt}
written = model.generate(
    input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
    do_sample=False, max_new_tokens={role.max_new_tokens},
    eos_token_id={eos}, pad_token_id={eos},
)  # greedy
print(tokenizer.decode(written[0, len(prompt):], skip_special_tokens=True))'''
