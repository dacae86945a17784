"""Parameters of notebooks: a text is read by the type of what it is given to, and a lost text is refused.

YAML and papermill read ``010`` as a number and Snakemake ``1e3``; a folder may be called so. Here a text is taken as it
is written.
"""

import ast
import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from asc_kit import config
from asc_kit.common import InputError
from asc_kit.common.checked import fits, words

KINDS = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def read(name: str, text: str, hint: Any) -> Any:
    """A text as a value of a type.

    Parameters
    ----------
    name : of the parameter, for the message
    hint : str (as written), int (decimal), float, bool (true or false, yes or no, on or off), list and dict (YAML), a
        Literal, or several of these; where None is one of them, the word off, which turns off, stays as it is

    Raises
    ------
    InputError : the text is no such value
    """
    if text == "off" and fits(None, hint):
        return text
    for value in _readings(text):
        if fits(value, hint):
            return value
    raise InputError(f"{name}: {text!r} is not possible; give {words(hint).replace('None', 'off')}")


def _readings(text: str) -> Iterator[Any]:
    yield text
    if NUMBER.fullmatch(text):
        yield float(text)
    if re.fullmatch(r"[+-]?[0-9]{1,100}", text):
        yield int(text)
    if text.lower() in TRUTH:
        yield TRUTH[text.lower()]
    if text[:1] in ("[", "{"):
        try:
            yield yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: 2021-13-45 is no date
            return


def declared(source: str) -> dict[str, type]:
    """The parameters of a notebook's parameters cell, and their types: the annotation's, or the default's."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign):
            kind = re.match(r"\w*", ast.unparse(node.annotation))[0]
            found[node.target.id] = KINDS.get(kind, str)
        elif isinstance(node, ast.Assign):
            kind = type(_value(node))
            found[node.targets[0].id] = kind if kind in KINDS.values() else str
    return found


def _value(node: ast.Assign) -> Any:
    try:
        return ast.literal_eval(node.value)
    except ValueError:  # papermill writes NaN and infinity as calls
        return float("nan")


def resolve(kinds: dict[str, type], texts: dict[str, str]) -> dict[str, Any]:
    """Texts of a command line as the parameters of a notebook.

    Parameters
    ----------
    kinds : what the notebook declares
    texts : name -> text; a setting that is no parameter goes into ``changes``, where the notebook has that

    Raises
    ------
    InputError : a name is neither parameter nor setting, or a text is no such value
    """
    hints = setting_hints() if "changes" in kinds else {}
    found: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for name, text in texts.items():
        if name == "changes" and hints:
            settings = read(name, text, dict)
            config.known(settings, hints, name)
            for key, raw in yaml.load(text, yaml.BaseLoader).items():  # which leaves texts as they are
                changes[key] = read(key, raw, hints[key]) if isinstance(raw, str) else settings[key]
        elif name in kinds:
            found[name] = read(name, text, kinds[name])
        elif name in hints:
            changes[name] = read(name, text, hints[name])
        else:
            settings = ", and every setting of asc_kit/config.py" if hints else ""
            raise InputError(f"-p {name}: unknown parameter {name!r}; known are {', '.join(kinds)}{settings}")
    return found | ({"changes": changes} if changes else {})


def setting_hints() -> dict[str, Any]:
    """The type of every setting of a configuration."""
    return {name: hint for kind in config.PARTS.values() for name, hint in get_type_hints(kind).items()}


def typed(entries: list[str] | None) -> dict[str, str]:
    """NAME=TEXT of a command line as name -> text."""
    if wrong := [entry for entry in entries or () if "=" not in entry]:
        raise InputError(f"-p {wrong[0]}: must read NAME=VALUE")
    return dict(entry.partition("=")[::2] for entry in entries or ())


def items(text: str) -> list[str]:
    """``[a, b]``, or one alone, as texts."""
    try:
        found = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError:
        return [text]
    return list(map(str, found)) if isinstance(found, list) else [text]


def as_text(name: str, value: Any, texts: dict[str, str]) -> str:
    """A text that papermill or Snakemake has parsed.

    Parameters
    ----------
    texts : what was typed, as far as it is known

    Raises
    ------
    InputError : it was read as anything but an integer that prints back as typed
    """
    if isinstance(value, str):
        return value
    if type(value) is not int or texts.get(name, str(value)) != str(value):
        raise InputError(f"{name}: is a text, and was read as {value!r} on its way here; type papermill -r {name} "
                         f"TEXT, asc-kit run -p {name}=TEXT, or snakemake --config {name}=TEXT")  # fmt: skip
    return str(value)


def check_parameters(history: list[str]) -> None:
    """Refuse an injected parameter that a notebook does not have, or of another type; papermill itself only warns.

    An integer that is given for a text becomes that text in the notebook.

    Parameters
    ----------
    history : IPython's ``In``
    """
    injected = [i for i, cell in enumerate(history) if cell.startswith("# Parameters\n")]
    if not injected or injected[-1] == 0:
        return
    kinds = declared(history[injected[-1] - 1])
    given = {node.targets[0].id: _value(node) for node in ast.parse(history[injected[-1]]).body}
    if unknown := sorted(given.keys() - kinds.keys()):
        raise InputError(f"parameters: unknown {', '.join(unknown)}; known are {', '.join(sorted(kinds))}")
    texts = _typed() if any(type(value) is int for value in given.values()) else {}
    for name, value in given.items():
        if kinds[name] is str and value is not None:
            _replace(name, as_text(name, value, texts))
        elif value is not None and not fits(value, kinds[name]):
            raise InputError(f"{name}: {value!r} is not possible; give {words(kinds[name])}")
        elif kinds[name] is int and name in texts and read(name, texts[name], int) != value:
            raise InputError(f"{name}: {texts[name]} was read as {value} on its way here; give it in decimal digits")


def _replace(name: str, value: str) -> None:
    from IPython import get_ipython  # here: the Snakefile and the command line do without it

    if shell := get_ipython():
        shell.push({name: value})


def _typed() -> dict[str, str]:
    """Parameters as they were typed for the papermill that started this kernel; none where another program did."""
    import psutil  # ipykernel's

    parent = psutil.Process(os.getppid())
    line = parent.cmdline()
    place = next((number for number, word in enumerate(line[:3], 1) if word.endswith("papermill")), None)
    if place is None:
        return {}
    from papermill.cli import papermill  # here: it takes half a second

    options = papermill.make_context("papermill", line[place:], resilient_parsing=True).params
    sources = [*map(base64.b64decode, options["parameters_base64"] or ()), *(options["parameters_yaml"] or ())]
    files = [parent.cwd() / Path(name) for name in options["parameters_file"] or ()]
    sources += [file.read_bytes() for file in files if file.exists()]
    texts: dict[str, str] = {}
    for source in sources:
        texts |= {name: text for name, text in yaml.load(source, yaml.BaseLoader).items() if isinstance(text, str)}
    return texts | dict(options["parameters"] or ()) | dict(options["parameters_raw"] or ())
