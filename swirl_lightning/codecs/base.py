"""What a codec is: the one place that knows what a state is made of."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from swirl_lightning.codecs.cache import blocks, kept_table, key_of
from swirl_lightning.codecs.encodings import SCHEMA, Encodings, Sizes, batch_of, sizes_of
from swirl_lightning.codecs.layout import Layout
from swirl_lightning.types import Answer, Encoded, Ids, InputError, Prompts, Reads, Role, StateForm, Transition

ENCODING = 2
"""To be raised when a transition gets other ids than before: encodings on disk are then made anew."""
log = logging.getLogger(__name__)


class CodecForm(NamedTuple):
    """What a run asks of its codec.

    Args:
        layouts: the words around the parts, by environment; the entry ``""`` is for all others.
        state_form: what the FWM writes: ``full``, the whole next state, or ``delta``, a lossless edit of the state.
        max_tokens: longest prompt and completion together; a longer transition is refused.
        reads: how the IDM reads a next state: as it is ``written``, or in a form that is one for all its spellings.
    """

    layouts: Mapping[str, Layout]
    state_form: StateForm
    max_tokens: int
    reads: Reads = "written"

    @property
    def markers(self) -> tuple[str, ...]:
        """All words of the layouts, each once."""
        return tuple(dict.fromkeys(marker for layout in self.layouts.values() for marker in layout.markers))


class Codec(ABC):
    """Turns a transition into ids once, and what either role writes back into a state or an action.

    States and actions are strings everywhere else; what they become is known here alone. A base model makes the codec
    that its ids need (:meth:`swirl_lightning.models.BaseModel.codec`), and nobody asks which one it is. Actions are
    text in each of them; one for another kind of state says how x and y are encoded and read.

    Args:
        tokenizer: a Hugging Face tokenizer.
        form: what the run asks for.
    """

    answers: Mapping[Role, Answer]
    """What each role may write."""

    language: Answer
    """What language modelling is of: any ids, up to the end token of texts."""

    def __init__(self, tokenizer: Any, form: CodecForm) -> None:
        self.tokenizer = tokenizer
        self.state_form: StateForm = form.state_form
        self.reads: Reads = form.reads
        self.read_form: StateForm = form.state_form if form.reads == "written" else form.reads
        self.max_tokens = form.max_tokens
        self._cache: dict[Transition, Encoded] = {}
        self._kept: Encodings | None = None
        self.eos: int = tokenizer.eos_token_id
        self.language = Answer(self.eos)
        self._prompts = {name: self.lay_out(layout) for name, layout in form.layouts.items()}

    def form_of(self, role: Role) -> StateForm:
        """The form of what the FWM writes, or the IDM reads, of a next state."""
        return self.state_form if role == "fwm" else self.read_form

    # ---- for every kind of state its own

    @property
    @abstractmethod
    def num_ids(self) -> int:
        """One more than the highest id that prompts and answers may have."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What the FWM's completion must be, as words for a message."""

    @abstractmethod
    def encode_states(self, states: Sequence[str], transitions: Sequence[Transition] = ()) -> list[Ids]:
        """X of each state.

        Args:
            states: N states.
            transitions: whose they are, for the message.

        Raises:
            InputError: a state cannot be encoded.
        """

    @abstractmethod
    def encode_next_states(self, transitions: Sequence[Transition], form: StateForm) -> list[Ids]:
        """Y of each transition, what the FWM is to write, or the IDM reads, in that form; raises likewise."""

    @abstractmethod
    def next_state(self, state: str, ids: Ids) -> str | None:
        """The next state that an FWM completion says; None where it says none."""

    @abstractmethod
    def show(self, ids: Ids) -> str:
        """An FWM completion, valid or not, as a person may read it."""

    def comparable(self, state: str) -> str:
        """A state in the form in which the FWM writes one, so that its next states equal true ones that they reach."""
        return state

    def compared(self, transitions: Sequence[Transition]) -> list[Transition]:
        """The transitions with both states in that form."""
        same = self.comparable
        return [replace(t, state=same(t.state), next_state=same(t.next_state)) for t in transitions]

    def view(self, state: str, truth: str | None = None) -> np.ndarray | None:
        """What a person is shown in place of a state's text; None where that is what is shown.

        Args:
            state: the state.
            truth: what it should be; where it differs is marked.

        Returns:
            An image, large enough to be looked at. [H, W, 3], uint8
        """
        return None

    def losses(self, states: Iterable[str]) -> str | None:
        """What is lost of some states, in words; None, and no state is read, where nothing can be."""
        return None

    @abstractmethod
    def saved(self) -> str:
        """What a checkpoint holds of a codec that was made from the run's data."""

    def export(self, folder: Path) -> None:
        """Write what other programs need to make these ids, beside the words of the layout.

        Raises:
            InputError: there is nothing that they could load.
        """
        raise InputError(
            f"swirl export: found a model whose codec is {type(self).__name__}, expected one whose ids other libraries "
            "can make; use the run itself, with swirl_lightning.trained"
        )

    @abstractmethod
    def identity(self) -> object:
        """All that a transition's ids depend on beside the transition, with a ``repr`` that says so."""

    # ---- ids

    def prompts(self, environment: str = "") -> Prompts:
        """How an environment's transitions are laid out."""
        return self._prompts.get(environment) or self._prompts[""]

    def encode(self, transition: Transition, keep: bool = True) -> Encoded:
        """The transition's ids; computed on the first call.

        Args:
            transition: with its action or without.
            keep: for the next call; what passes through once need not be.

        Raises:
            InputError: if the transition is longer than ``max_tokens`` or part of it would be lost.
        """
        if self._kept and (found := self._kept.find(transition)):
            x, y, z, read = found
            return self._checked(Encoded(x, y, z, self.prompts(transition.environment), read), transition)
        if (code := self._cache.get(transition)) is None:
            code = self._checked(self._encode([transition])[0], transition)
            if keep:
                self._cache[transition] = code
        return code

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
        name = key_of(ENCODING, version("tokenizers"), self.identity(), content)

        def batches() -> Iterator[pa.RecordBatch]:
            log.info("encoding %d transitions, once for all starts", len(transitions))
            for block in blocks(transitions):
                yield batch_of(block, self._encode(block))

        self._kept = Encodings(kept_table(f"ids-{name}", SCHEMA, batches))
        return self._kept.sizes()

    def question(self, state: str, action: str, environment: str = "") -> Ids:
        """The FWM's prompt for a state and an action whose next state is not known yet.

        Raises:
            InputError: they cannot be encoded, or leave no room; a whole next state is taken to be as long as the
                state.
        """
        (x,), (z,) = self.encode_states([state]), self.encode_texts([indent(action)])
        code = Encoded(x, x if self.state_form == "full" else (), z, self.prompts(environment))
        return self._checked(code).prompts.forward(x, z)

    def given(self, transition: Transition, ids: Ids) -> Ids:
        """What the IDM reads of an FWM completion; one that is no next state has only its own spelling."""
        if self.reads == "written" or (next_state := self.next_state(transition.state, ids)) is None:
            return ids
        return self.encode_next_states([replace(transition, next_state=next_state)], self.read_form)[0]

    def action(self, ids: Ids) -> str:
        """The action that an IDM completion says."""
        return "\n".join(line.removeprefix(" ") for line in self.text(ids).split("\n"))

    def text(self, ids: Ids) -> str:
        """The text that ids of text stand for."""
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def lay_out(self, layout: Layout) -> Prompts:
        """The same words around the parts for both roles."""
        encode, bos = self.tokenizer.encode, self.tokenizer.bos_token_id
        start, action, next_state = (tuple(encode(m, add_special_tokens=False)) for m in layout.markers)
        if bos is not None and encode("a")[0] == bos:
            start = (bos, *start)
        return Prompts(fwm=(start, action, next_state), idm=(start, next_state, action))

    def _encode(self, transitions: Sequence[Transition]) -> list[Encoded]:
        xs = self.encode_states([t.state for t in transitions], transitions)
        ys = self.encode_next_states(transitions, self.state_form)
        reads: Sequence[Ids | None] = [None] * len(ys)
        if self.read_form != self.state_form:
            reads = self.encode_next_states(transitions, self.read_form)
        # an empty action stands in for one that is not there
        zs = self.encode_texts(["" if t.action is None else indent(t.action) for t in transitions], transitions)
        return [
            Encoded(x, y, None if t.action is None else z, self.prompts(t.environment), read)
            for t, x, y, z, read in zip(transitions, xs, ys, zs, reads, strict=True)
        ]

    def _checked(self, code: Encoded, transition: Transition | None = None) -> Encoded:
        if code.length > self.max_tokens:
            next_state = max(len(code.y), len(code.given))
            raise InputError(
                f"{place(transition)}{code.length} tokens in all (state {len(code.x)}, action "
                f"{len(code.z or ())}, next state {next_state}), expected at most {self.max_tokens}; states are never "
                "cut: raise model.max_tokens, or leave the row out of the data"
            )
        return code

    def encode_texts(self, texts: list[str], transitions: Sequence[Transition] = ()) -> list[Ids]:
        """The ids of texts.

        Raises:
            InputError: the tokenizer loses part of one; the message names its transition, where these are given.
        """
        if not texts:
            return []
        options = {"add_special_tokens": False, "split_special_tokens": True, "return_attention_mask": False}
        rows = [tuple(ids) for ids in self.tokenizer(texts, **options).input_ids]
        for n, (text, ids) in enumerate(zip(texts, rows, strict=True)):
            if (back := self.text(ids)) != text:
                raise InputError(
                    f"{place(transitions[n] if transitions else None)}the tokenizer does not give the text back: "
                    f"{text[:80]!r} became {back[:80]!r}; expected a tokenizer that keeps every character (byte-level "
                    "BPE does)"
                )
        return rows


def place(transition: Transition | None) -> str:
    """Where a transition stands, as the begin of a message; nothing of one that stands in no log."""
    return "" if transition is None else f"episode {transition.episode!r} step {transition.step}: "


def indent(text: str) -> str:
    """Begin each line with a space, so that a word has the same token at the start of a line as inside it."""
    return "\n".join(" " + line for line in text.split("\n"))
