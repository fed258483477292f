"""What jsonargparse says of a wrong option, in one line and in the words of this project."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection

from jsonargparse import ArgumentParser

from swirl_lightning.commands.spelling import did_you_mean

UNKNOWN_OPTION = re.compile(r"unrecognized arguments: (\S+)")
UNKNOWN_KEY = re.compile(r"(?:(?:Subcommand '\w+'|Group '([\w.]+)') does not accept option|Option) '([\w.]+)'")
UNKNOWN_ARGUMENT = re.compile(
    r"Problem with given class_path '([\w.]+)': (?:Option '([\w.]+)' is not accepted"
    r"|unrecognized arguments: --([\w.]+)\S*|Group '([\w.]+)' does not accept option '([\w.]+)')"
)
MISSING = re.compile(r"the following arguments are required: (.+)")
KEY = re.compile(r'Parser key "([^"]+)":')
CLASS = re.compile(r"<class\s+'(?:\w+\.)*(\w+)'>")
REWORDED = (
    (re.compile(r"- Expected a path but .* either not accessible or invalid - "), ""),
    (re.compile(r"Problem with given class_path '[\w.]+': "), ""),
    (re.compile(r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: - "), ""),
    (re.compile(r" - Expected a <class 'NoneType'>"), ""),
    (re.compile(r" Given value type: .*NestedArg.*"), ""),
    (re.compile(r" Given value type: .*? Given value: "), ". Got value: "),
    (CLASS, r"\1"),
    (re.compile(r"typing\.Literal\[([^]]*)\]"), r"one of \1"),
    (re.compile(r" - Expected an? "), " or "),
    (
        re.compile(r"Expected a dot import path string: (\S+?)(\. Got value: .*)?$"),
        r"found \1, expected a class, package.module.Class",
    ),
    (
        re.compile(r"Import path does not implement protocol (\w+)\. Got value: (.*)"),
        r"found \2, expected a class that has the methods of \1, with the same arguments and annotations",
    ),
    (re.compile(r"Expected an? (.+?)\. Got value: (.*)"), r"found \2, expected \1"),
    (re.compile(r"^argument (.*): expected one argument$"), r"\1: expected a value"),
)


def reworded(message: str, options: Collection[str], places: Collection[str]) -> str:
    """A message that names the option as it is given on the command line.

    Args:
        message: of jsonargparse, in one line.
        options: those that the parser knows, as ``--key``.
        places: the arguments that have a place and no name.
    """
    if found := UNKNOWN_OPTION.match(message):
        return _unknown_option(found[1], options)
    if found := UNKNOWN_KEY.match(message):
        return _unknown_option("--" + ".".join(filter(None, found.groups())), options)
    if found := MISSING.match(message):
        return "missing " + ", ".join(_shown(key, places) for key in found[1].split(", "))
    key, text = KEY.match(message), KEY.sub(r"\1:", message)
    if key:
        text = text.removeprefix(f"{key[1]}: ")
    if found := UNKNOWN_ARGUMENT.search(text):
        text = _unknown_argument(found[1], ".".join(filter(None, found.groups()[1:])))
    for pattern, words in REWORDED:
        text = pattern.sub(words, text)
    return f"{_shown(key[1], places)}: {text}" if key else text


def _shown(key: str, places: Collection[str]) -> str:
    return key.upper() if key in places else f"--{key}"


def _unknown_option(given: str, options: Collection[str]) -> str:
    name = given.partition("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {given}"
    return f"no such option: {name}{did_you_mean(name, options)}"


def _unknown_argument(class_path: str, option: str) -> str:
    """That a class, which has been imported by now, has no such option."""
    module, _, name = class_path.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    parser = ArgumentParser()
    if kind:
        parser.add_class_arguments(kind, "it")
    known = [action.dest.removeprefix("it.") for action in parser._actions if action.dest.startswith("it.")]
    return f"{name} has no option {option}{did_you_mean(option, known)}"
