"""ScienceWorld's engine (arXiv 2203.07540), which runs on Java."""

from __future__ import annotations

import shutil

from swirl_lightning.environments.physics.room import describe
from swirl_lightning.types import InputError

World = tuple[str, int]  # a task and its variation


class Engine:
    """ScienceWorld's simulator, a Java program that runs until ``close``.

    The package's own ``step`` lists all valid actions each time, which takes ten times as long as the step; its
    ``reset`` loads a second time.

    Raises:
        InputError: the package or Java is missing, or Java does not start.
    """

    def __init__(self) -> None:
        try:
            from py4j.protocol import Py4JError
            from scienceworld import ScienceWorldEnv
        except ImportError as error:
            raise InputError(
                "swirl collect physics: the package scienceworld is not installed; pip install "
                "'swirl-lightning[physics]'"
            ) from error
        cure = "install Java 8 or newer (Debian's package default-jre-headless)"
        if shutil.which("java") is None:
            raise InputError(f"swirl collect physics: found no 'java' on the PATH, which ScienceWorld runs on; {cure}")
        try:
            self.wrapper = ScienceWorldEnv("")
        except (OSError, ValueError, Py4JError) as error:
            raise InputError(f"swirl collect physics: Java does not start ScienceWorld ({error}); {cure}") from error

    def load(self, world: World, simplification: str, gold: bool = False) -> str:
        """Begin a world anew; gives its first state."""
        self.wrapper.load(*world, simplification, generateGoldPath=gold)
        return self.step("look around")

    def step(self, action: str) -> str:
        """Gives the next state."""
        observation = self.wrapper.server.step(action)
        return describe(observation, self.wrapper.look(), self.wrapper.inventory())

    def valid(self) -> list[str]:
        """The actions that make sense here, by the engine's way that gives them all at once."""
        return [its["action"] for its in self.wrapper.get_valid_action_object_combinations_with_templates()]

    def score(self) -> int:
        """Of 100; below 0 the task has failed."""
        return round(100 * self.wrapper.server.getScore())

    def is_over(self) -> bool:
        """Whether the task is done or has failed."""
        return self.wrapper.server.getCompleted() or self.score() < 0

    def close(self) -> None:
        """End the Java program and wait until it has: else the wrapper complains of a broken pipe."""
        self.wrapper.close()
        self.wrapper._gateway.java_process.wait(timeout=60)
