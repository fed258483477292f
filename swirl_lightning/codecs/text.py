"""Text transitions as token ids, and completions back as text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from swirl_lightning.codecs.cache import blocks, kept_table, key_of
from swirl_lightning.codecs.delta import decode_delta, encode_delta
from swirl_lightning.codecs.encodings import SCHEMA, Encodings, Sizes, batch_of, sizes_of
from swirl_lightning.types import Encoded, Ids, InputError, PromptPair, Reads, StateForm, Transition

ENCODING = 2
"""To be raised when a transition gets other ids than before: encodings on disk are then made anew."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """The words around x, z and y; the same for both roles.

    Args:
        start: before the state.
        action: between what comes before the action and the action.
        next_state: between what comes before the next state (or the change) and it.
    """

    start: str = "State:\n"
    action: str = "\nAction:"
    next_state: str = "\nChange:\n"

    def __post_init__(self) -> None:
        for name, words in zip(("start", "action", "next_state"), self.markers, strict=True):
            if not isinstance(words, str):
                raise InputError(f"layout.{name}: found {words}, expected words, or '' for none")

    @property
    def markers(self) -> tuple[str, str, str]:
        """The three strings, in the order of the fields."""
        return self.start, self.action, self.next_state


def indent(text: str) -> str:
    """Begin each line with a space, so that a word has the same token at the start of a line as inside it."""
    return "\n".join(" " + line for line in text.split("\n"))


def unindent(text: str) -> str | None:
    """Undo :func:`indent`; None where a line does not begin with a space."""
    lines = text.split("\n")
    return "\n".join(line[1:] for line in lines) if all(line.startswith(" ") for line in lines) else None


def _written(t: Transition, form: StateForm) -> str:
    return encode_delta(t.state, t.next_state) if form == "delta" else indent(t.next_state)


class TextCodec:
    """Turns a transition into ids once, and completions of either role back into text.

    Args:
        tokenizer: a Hugging Face tokenizer.
        layouts: the words around the parts, by environment; the entry ``""`` is for all others.
        state_form: what the FWM writes: ``full``, the whole next state, or ``delta``, a lossless edit of the state.
        max_tokens: longest prompt and completion together; a longer transition is refused.
        reads: how the IDM reads a next state: as it is ``written``, or in a form that is one for all its spellings.
    """

    def __init__(
        self,
        tokenizer: Any,
        layouts: Mapping[str, Layout],
        state_form: StateForm,
        max_tokens: int,
        reads: Reads = "written",
    ) -> None:
        self.tokenizer = tokenizer
        self.state_form: StateForm = state_form
        self.reads: Reads = reads
        self.read_form: StateForm = state_form if reads == "written" else reads
        self.max_tokens = max_tokens
        self._cache: dict[Transition, Encoded] = {}
        self._kept: Encodings | None = None
        self.eos: int = tokenizer.eos_token_id
        self._prompts = {name: self._lay_out(layout) for name, layout in layouts.items()}

    def prompts(self, environment: str = "") -> PromptPair:
        """How an environment's transitions are laid out."""
        return self._prompts.get(environment) or self._prompts[""]

    def encode(self, transition: Transition) -> Encoded:
        """The transition's ids; computed on the first call.

        Raises:
            InputError: if the transition is longer than ``max_tokens`` or the tokenizer loses part of its text.
        """
        if self._kept and (found := self._kept.find(transition)):
            x, y, z, read = found
            return self._checked(transition, Encoded(x, y, z, self.prompts(transition.environment), read))
        if transition not in self._cache:
            self._cache[transition] = self._checked(transition, *self._encode([transition]))
        return self._cache[transition]

    def encode_all(self, transitions: Sequence[Transition]) -> Sizes:
        """Encode ahead in one go. Returns the sizes of all, also of those that are too long, whose ids are not kept."""
        new = [t for t in dict.fromkeys(transitions) if t not in self._cache]
        codes = dict(zip(new, self._encode(new), strict=True))
        self._cache |= {t: code for t, code in codes.items() if code.length <= self.max_tokens}
        return sizes_of([codes.get(t) or self._cache[t] for t in transitions])

    def keep_all(self, transitions: Sequence[Transition], content: Sequence[str]) -> Sizes:
        """``encode_all`` of large data, whose ids are kept on disk: the first start encodes, in one process.

        Args:
            transitions: may be read from disk one by one.
            content: hashes of them.
        """
        prompts = {name: (p.start, p.action, p.next_state) for name, p in self._prompts.items()}
        its = self.tokenizer.backend_tokenizer.to_str()
        name = key_of(ENCODING, version("tokenizers"), its, prompts, self.state_form, self.reads, content)

        def batches() -> Iterator[pa.RecordBatch]:
            log.info("encoding %d transitions, once for all starts", len(transitions))
            for block in blocks(transitions):
                yield batch_of(block, self._encode(block))

        self._kept = Encodings(kept_table(f"ids-{name}", SCHEMA, batches))
        return self._kept.sizes()

    def action(self, ids: Ids) -> str:
        """The action that an IDM completion says."""
        return "\n".join(line.removeprefix(" ") for line in self._text(ids).split("\n"))

    def next_state(self, state: str, ids: Ids) -> str | None:
        """The next state that an FWM completion says; None if the completion is no valid edit or text of a state."""
        text = self._text(ids)
        return decode_delta(state, text) if self.state_form == "delta" else unindent(text)

    def given(self, transition: Transition, ids: Ids) -> Ids:
        """What the IDM reads of an FWM completion; one that is no next state has only its own spelling."""
        if self.reads == "written":
            return ids
        next_state = self.next_state(transition.state, ids)
        if next_state is None:
            return ids
        said = replace(transition, next_state=next_state)
        return self._ids([_written(said, self.read_form)], [said])[0]

    def _encode(self, transitions: Sequence[Transition]) -> list[Encoded]:
        xs = self._ids([indent(t.state) for t in transitions], transitions)
        ys = self._ids([_written(t, self.state_form) for t in transitions], transitions)
        reads: Sequence[Ids | None] = [None] * len(ys)
        if self.read_form != self.state_form:
            reads = self._ids([_written(t, self.read_form) for t in transitions], transitions)
        # an empty action stands in for one that is not there
        zs = self._ids(["" if t.action is None else indent(t.action) for t in transitions], transitions)
        return [
            Encoded(x, y, None if t.action is None else z, self.prompts(t.environment), read)
            for t, x, y, z, read in zip(transitions, xs, ys, zs, reads, strict=True)
        ]

    def _checked(self, t: Transition, code: Encoded) -> Encoded:
        if code.length > self.max_tokens:
            next_state = max(len(code.y), len(code.given))
            raise InputError(
                f"episode {t.episode!r} step {t.step}: {code.length} tokens in all (state {len(code.x)}, action "
                f"{len(code.z or ())}, next state {next_state}), expected at most {self.max_tokens}; states are never "
                "cut: raise model.max_tokens, or leave the row out of the data"
            )
        return code

    def _lay_out(self, layout: Layout) -> PromptPair:
        encode, bos = self.tokenizer.encode, self.tokenizer.bos_token_id
        start, action, next_state = (tuple(encode(m, add_special_tokens=False)) for m in layout.markers)
        if bos is not None and encode("a")[0] == bos:
            start = (bos, *start)
        return PromptPair(start=start, action=action, next_state=next_state)

    def _ids(self, texts: list[str], transitions: Sequence[Transition]) -> list[Ids]:
        if not texts:
            return []
        options = {"add_special_tokens": False, "split_special_tokens": True, "return_attention_mask": False}
        rows = [tuple(ids) for ids in self.tokenizer(texts, **options).input_ids]
        for t, text, ids in zip(transitions, texts, rows, strict=True):
            if (back := self._text(ids)) != text:
                raise InputError(
                    f"episode {t.episode!r} step {t.step}: the tokenizer does not give the text back: {text[:80]!r} "
                    f"became {back[:80]!r}; expected a tokenizer that keeps every character (byte-level BPE does)"
                )
        return rows

    def _text(self, ids: Ids) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
