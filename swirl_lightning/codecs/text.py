"""Text transitions as token ids, and completions back as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swirl_lightning.codecs.base import Codec, CodecForm, indent, place
from swirl_lightning.codecs.delta import decode_delta, encode_delta
from swirl_lightning.codecs.layout import Layout
from swirl_lightning.pictures import is_known
from swirl_lightning.types import Answer, Ids, InputError, Reads, StateForm, Transition


def unindent(text: str) -> str | None:
    """Undo :func:`indent`; None where a line does not begin with a space."""
    lines = text.split("\n")
    return "\n".join(line[1:] for line in lines) if all(line.startswith(" ") for line in lines) else None


class TextCodec(Codec):
    """States are text: what the FWM writes is the text of the next state, or an edit of the state.

    Args:
        tokenizer: a Hugging Face tokenizer.
        layouts: as in :class:`CodecForm`, as are the other three.
        state_form: what the FWM writes.
        max_tokens: longest prompt and completion together.
        reads: how the IDM reads a next state.
    """

    def __init__(
        self,
        tokenizer: Any,
        layouts: Mapping[str, Layout],
        state_form: StateForm,
        max_tokens: int,
        reads: Reads = "written",
    ) -> None:
        super().__init__(tokenizer, CodecForm(layouts, state_form, max_tokens, reads))
        self.answers = {"fwm": Answer(self.eos), "idm": Answer(self.eos)}

    @property
    def num_ids(self) -> int:  # noqa: D102
        added = self.tokenizer.added_tokens_decoder.items()
        special = {number for number, token in added if token.special}  # no text has these
        read = {self.eos, *self.tokenizer.encode("a")}
        return max(set(self.tokenizer.get_vocab().values()) - special | read) + 1

    @property
    def expected(self) -> str:  # noqa: D102
        return "an edit that fits the state" if self.state_form == "delta" else "lines that begin with a space"

    def encode_states(self, states: Sequence[str], transitions: Sequence[Transition] = ()) -> list[Ids]:  # noqa: D102
        for n, state in enumerate(states):
            if is_known(state):
                raise InputError(
                    f"{place(transitions[n] if transitions else None)}found a picture, expected a text: take a "
                    "model.base that reads pictures, such as swirl_lightning.models.ScratchPictureLM"
                )
        return self.encode_texts([indent(state) for state in states], transitions)

    def encode_next_states(self, transitions: Sequence[Transition], form: StateForm) -> list[Ids]:  # noqa: D102
        if form == "delta":
            return self.encode_texts([encode_delta(t.state, t.next_state) for t in transitions], transitions)
        return self.encode_texts([indent(t.next_state) for t in transitions], transitions)

    def next_state(self, state: str, ids: Ids) -> str | None:
        """The next state that an FWM completion says; None if the completion is no valid edit or text of a state."""
        text = self.text(ids)
        return decode_delta(state, text) if self.state_form == "delta" else unindent(text)

    def show(self, ids: Ids) -> str:  # noqa: D102
        return self.text(ids)

    def export(self, folder: Path) -> None:
        """The tokenizer makes all ids."""
        self.tokenizer.save_pretrained(folder)

    def saved(self) -> str:
        """The tokenizer, which was trained on the run's texts."""
        return self.tokenizer.backend_tokenizer.to_str()

    def identity(self) -> object:  # noqa: D102
        prompts = {name: (p.fwm, p.idm) for name, p in self._prompts.items()}
        return self.saved(), prompts, self.state_form, self.reads
