"""The parser of every command: jsonargparse's, with errors of one line."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from swirl_lightning.commands.group_help import asked_group, keep_group
from swirl_lightning.commands.messages import CLASS, reworded
from swirl_lightning.commands.nulls import check_nulls
from swirl_lightning.trained.aliases import check_aliases
from swirl_lightning.types import InputError, say


class HelpFormatter(DefaultHelpFormatter):
    """Lines of the help, in which no name of a class is taken apart."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)


class Parser(ArgumentParser):
    """A parser that raises ``InputError`` with one line that names the option, and prints no usage before it.

    Options cannot be abbreviated: a misspelt one is told which one it may stand for.
    """

    _file = ""
    _program = "swirl"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # the parser of a nested help, which jsonargparse makes without a name, is that of the running command
        own: dict[str, Any] = {"allow_abbrev": False, "prog": Parser._program, "formatter_class": HelpFormatter}
        super().__init__(*args, **own | kwargs)

    def parse_path(self, path: str | os.PathLike, *args: Any, **kwargs: Any) -> Namespace:
        """Read a configuration; an error names its file."""
        self._file = f"{path}: "
        try:
            check_aliases(Path(path))
            return super().parse_path(path, *args, **kwargs)
        except (ValueError, RecursionError) as error:
            raise error if isinstance(error, InputError) else InputError(f"{path}: {error}") from error
        finally:
            self._file = ""

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """Read the options; what their values cannot be read as is an error of one line, too."""
        Parser._program = self.prog.replace(" [options]", "")
        try:
            self._show_group(*args)
            found = super().parse_args(*args, **kwargs)
            check_nulls(found)
            return found
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.prog.replace(' [options]', '')}: {self._file}{error}") from error

    def _show_group(self, words: Sequence[str] | None = None, *_: Any) -> None:
        """Show the options of a group, and end, where that is asked for and jsonargparse does not do it."""
        parser: Any = self._commands().get(words[0], self) if words else self
        for word in words or ():
            group = asked_group(word)
            if group is not None and word.partition("=")[0] not in parser._option_string_actions:
                usage = f"{parser.prog.replace(' [options]', '')} [options]"
                try:
                    shown: Any = keep_group(parser, group, lambda: Parser(add_help=False))
                except InputError as error:
                    raise InputError(f"{usage.removesuffix(' [options]')}: {error}") from error
                shown.usage, shown.description, shown.epilog = usage, None, None
                say(Parser.format_help(shown).removesuffix("\n"))
                self.exit()

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help, without the marks of code that docstrings and types have."""
        return CLASS.sub(r"\1", super().format_help(*args, **kwargs)).replace("``", "")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help; argparse would not tell that it could not."""
        if message:
            say(message.removesuffix("\n"), file=file or sys.stderr)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error, or what jsonargparse expects of the parsers that it makes itself."""
        if not self.exit_on_error:
            super().error(message, ex)
        text = " ".join(message.split())
        for name, parser in self._commands().items():  # what is wrong with a command's options is told by its parser
            if text.startswith((f"Subcommand '{name}' ", f"the following arguments are required: {name}.")):
                parser.error(text.replace(f" {name}.", " "), ex)
        places = [action.dest for action in self._actions if not action.option_strings]
        line = reworded(text, self._option_string_actions, places)
        raise InputError(f"{self.prog.replace(' [options]', '')}: {self._file}{line}") from ex

    def _commands(self) -> dict[str, ArgumentParser]:
        return next((action.choices for action in self._actions if isinstance(action.choices, dict)), {})
