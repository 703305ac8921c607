"""What is checked while the workflow is parsed and needs more than the types of `config`.

No job imports this module: not all their environments can read YAML, and a change here changes no
result.
"""

import re
from pathlib import Path

import yaml

from babelscope.config import Model, Settings, plain
from babelscope.errors import BabelscopeError
from babelscope.subnetworks.budgets import heads_at


def check_keys(path: str | Path) -> None:
    """Refuse a configuration file in which a key stands twice: of the two YAML takes the last.

    A file that is not there or no YAML is passed over, since who loads it says that.

    Raises
    ------
    BabelscopeError
        If there is such a key; the message names both lines.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with Path(path).open("rb") as file:
            root = yaml.compose(file, loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return
    waiting = [("", root)]
    seen = set()  # an alias is its anchor's node once more, which can even hold itself
    while waiting:
        section, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(f"{section}{number}.", item) for number, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = section + plain(key.value), key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                raise BabelscopeError(
                    f"{path}, line {line}: {name} is there before, in line"
                    f" {lines[key.tag, key.value]}, and only the last would count.",
                    "Remove one of them, or make one section of both.",
                )
            lines[key.tag, key.value] = line
            waiting.append((f"{name}.", value))


def prompt_languages(folder: str | Path) -> dict[str, set[str]]:
    """Return the languages that there are prompts in, by format of choices.

    A file that is not as it should be is left out, since the job that reads it says what is wrong.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        try:
            document = yaml.safe_load(path.read_text("utf-8"))
            found[path.stem] = set(map(str, document["languages"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
            continue
    return found


def check_budgets(settings: Settings, models: dict[str, Model]) -> None:
    """Check that every budget of the heads study leaves the models that are built a head.

    How many heads other models have stands in their folders alone.

    Raises
    ------
    BabelscopeError
        If one leaves none.
    """
    built = [name for name in settings.models if models[name].source == "build"]
    shape = settings.mlm.architecture
    for budget in settings.heads.budgets if built else []:
        try:
            heads_at(budget.sparsity or 0.0, shape.layers * shape.heads)
        except BabelscopeError as error:
            raise BabelscopeError(
                f"config: heads.budgets: {budget.name}: {error.what} That is what"
                f" {', '.join(built)} is built with.",
                error.remedy,
            ) from None


def check_contact(settings: Settings) -> None:
    """Check, when a run begins, that mirrors are told whom to write to; plans need no address.

    Raises
    ------
    BabelscopeError
        If dumps are downloaded, and the contact is still the one that stands for another.
    """
    contact = settings.dumps.contact or ""
    if settings.dumps.source.startswith("http") and re.search(
        r"\bexample\.(org|com|net)\b", contact
    ):
        raise BabelscopeError(
            f"config: dumps.contact: {contact} stands for your own address, which mirrors of dumps"
            " ask for.",
            "Replace it by an e-mail address or URL of yours.",
        )
