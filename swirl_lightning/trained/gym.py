"""The learned world as a Gymnasium environment, so that an agent can act in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from swirl_lightning.engine import Sampling
from swirl_lightning.environments.rows import scan_rows
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.prediction import predict_next
from swirl_lightning.pictures import is_picture, pixels
from swirl_lightning.trained.load import environment_of
from swirl_lightning.types import InputError, check_number

try:
    import gymnasium
except ImportError as error:
    raise InputError(
        "the environment for agents needs Gymnasium, found none: pip install 'swirl-lightning[gym]'"
    ) from error

Reward = Callable[[Any, str, Any], float]
"""Of (state, action, next state)."""
Ending = Callable[[Any, str, Any], bool]


SAMPLED = 24
"""Characters of a sample of text at most: longer nonsense would be too long to be asked about."""


class AnyText(gymnasium.spaces.Text):
    """Text of any characters, not of a list of them.

    Args:
        max_length: longest text, in characters.
        min_length: shortest.
        known: texts that samples are taken from; none: samples are short and of printable ASCII.
    """

    def __init__(self, max_length: int, *, min_length: int, known: Sequence[str] = ()) -> None:
        super().__init__(max_length, min_length=min_length)
        self.known = tuple(known)

    def sample(self, mask: Any = None, probability: Any = None) -> str:  # noqa: D102
        if mask is None and probability is None:
            if self.known:
                return self.known[int(self.np_random.integers(len(self.known)))]
            length = self.np_random.integers(self.min_length, min(self.max_length, SAMPLED) + 1)
            mask = (int(length), None)
        return super().sample(mask, probability)

    def contains(self, x: Any) -> bool:  # noqa: D102
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length


class WorldModelEnv(gymnasium.Env[Any, str]):
    """A Forward World Model that is acted in: observations are states, actions are texts.

    Where states are pictures, observations are their pixels, [H, W, 3]; the reward and the end are of observations too.

    ``reset`` draws a first state, or takes ``options={"state": ...}``. ``step`` lets the FWM write the next state.
    Where its prediction is malformed, the state stays, the reward is 0, and ``info["malformed"]`` says what is wrong,
    else it is None; a second such prediction in a row truncates the episode. ``info["logp"]`` is the log-probability
    of what was written, in nats. Wrap it in ``gymnasium.wrappers.TimeLimit`` for a longest episode.

    Args:
        model: of ``load_run``.
        starts: first states, or a log, of whose episodes the first states are taken. A picture is a state by the name
            that ``pictures.name_picture`` gives it.
        reward: of (state, action, next state).
        terminated: whether (state, action, next state) ends the episode; None never ends it.
        environment: whose prompts are used; None takes the only one that the run had.
        temperature: next states are drawn with it, by the seed given to ``reset``; 0 takes the most probable one.
        max_length: longest state and action, in characters.
        actions: what samples of the action space are taken from; an agent may act in other words. None: those of the
            log, where ``starts`` is one with actions, else short nonsense, to which few models know an answer.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        model: SWIRL,
        starts: Sequence[str] | Path,
        reward: Reward,
        terminated: Ending | None = None,
        *,
        environment: str | None = None,
        temperature: float = 0.0,
        max_length: int = 100_000,
        actions: Sequence[str] | None = None,
    ) -> None:
        if isinstance(starts, str):
            raise InputError("starts: found one text, expected a list of first states, or the Path of a log")
        check_number("temperature", temperature, least=0)
        self.model = model
        self.starts = first_states(starts) if isinstance(starts, Path) else list(starts)
        if not self.starts:
            raise InputError("starts: found none, expected a first state at least")
        self.reward = reward
        self.terminated = terminated
        self.environment = environment_of(model, environment)
        self.sampling = Sampling(temperature)
        self.observation_space: gymnasium.Space[Any] = AnyText(max_length, min_length=0)
        if is_picture(self.starts[0]):
            self.observation_space = gymnasium.spaces.Box(0, 255, pixels(self.starts[0]).shape, np.uint8)
        if actions is None:
            actions = known_actions(starts) if isinstance(starts, Path) else ()
        self.action_space = AnyText(max_length, min_length=1, known=actions)
        if wrong := [action for action in self.action_space.known if action not in self.action_space]:
            raise InputError(f"actions: found {wrong[0]!r}, expected texts of 1 to {max_length} characters")
        self._state: str | None = None
        self._malformed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode. Returns its first state, and no information.

        Args:
            seed: of first states and draws from now on.
            options: ``{"state": state}`` begins there.
        """
        super().reset(seed=seed)
        state = (options or {}).get("state")
        if state is None:
            state = self.starts[int(self.np_random.integers(len(self.starts)))]
        self._state, self._malformed = state, False
        return _seen(state), {}

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act. Returns state, reward, terminated, truncated and information.

        Raises:
            gymnasium.error.ResetNeeded: no episode is running.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("no episode is running: call reset first")
        state, seed = self._state, int(self.np_random.integers(2**63))
        (found,) = predict_next(self.model, [state], [action], self.environment, sampling=self.sampling, seeds=[seed])
        info = {"logp": found.logp, "malformed": found.problem}
        again, self._malformed = self._malformed, found.state is None
        if found.state is None:
            self._state = None if again else state
            return _seen(state), 0.0, False, again, info
        before, after = _seen(state), _seen(found.state)
        ends = self.terminated is not None and bool(self.terminated(before, action, after))
        self._state = None if ends else found.state
        return after, float(self.reward(before, action, after)), ends, False, info


def _seen(state: str) -> Any:
    """What an agent sees of a state."""
    return pixels(state).copy() if is_picture(state) else state


def first_states(log: Path) -> list[str]:
    """The state that each episode of a log begins with, in the order of the log."""
    first: dict[str, tuple[int, str]] = {}
    for _, t in scan_rows(log):
        if t.episode not in first or t.step < first[t.episode][0]:
            first[t.episode] = (t.step, t.state)
    return [state for _, state in first.values()]


def known_actions(log: Path) -> list[str]:
    """The distinct actions of a log, in its order."""
    return list(dict.fromkeys(t.action for _, t in scan_rows(log) if t.action))
