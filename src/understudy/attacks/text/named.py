"""The attacks on sentences by their names, with options, as commands take them: "deepwordbug,pwws:queries=200"."""

from importlib import import_module
from typing import Any

from pydantic import ValidationError

from understudy.attacks.text.base import TextAttack
from understudy.errors import ConfigError, nearest

TEXT_ATTACKS: dict[str, str] = {
    "deepwordbug": "understudy.attacks.text.deepwordbug:DeepWordBug",
    "textbugger": "understudy.attacks.text.textbugger:TextBugger",
    "pwws": "understudy.attacks.text.pwws:PWWS",
    "textfooler": "understudy.attacks.text.textfooler:TextFooler",
    "bae": "understudy.attacks.text.bae:BAE",
    "pso": "understudy.attacks.text.pso:PSO",
    "textattack": "understudy.attacks.text.bridge:Bridge",
}
"""Name of an attack -> "module:Class"; a class is imported when its attack is asked for."""


def text_attack(name: str) -> type[TextAttack]:
    """Return the class of an attack.

    Raises:
        ConfigError: no attack has the name; near names are listed.
    """
    if name not in TEXT_ATTACKS:
        raise ConfigError(f"there is no text attack {name!r}", where="attack", fix=nearest(name, TEXT_ATTACKS))
    module, _, attribute = TEXT_ATTACKS[name].partition(":")
    found: type[TextAttack] = getattr(import_module(module), attribute)
    return found


def parse_text_attacks(text: str, *, queries: int | None = None) -> tuple[TextAttack, ...]:
    """Return the attacks that a list names: items by commas, options by colons.

    Args:
        text: such as "deepwordbug,pwws:max_candidates=8:queries=200"; "" and "none" are no attack.
        queries: budget of the attacks that do not give one of their own; None leaves each at its default.

    Raises:
        ConfigError: no such attack or option (near names are listed), a value that cannot be used, an option given
            twice, or an attack named twice.

    Example:
        >>> [attack.spec for attack in parse_text_attacks("deepwordbug, textbugger:queries=200")]
        ['deepwordbug', 'textbugger:queries=200']
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if items == ["none"]:
        return ()
    attacks = tuple(_parse(item, queries) for item in items)
    specs = [attack.spec for attack in attacks]
    if twice := next((spec for spec in specs if specs.count(spec) > 1), None):
        raise ConfigError(f"the attack {twice} is named twice", where=f"attack {text!r}")
    return attacks


def _parse(item: str, queries: int | None) -> TextAttack:
    name, *parts = (part.strip() for part in item.split(":"))
    attack = text_attack(name.lower())
    values: dict[str, Any] = {}
    for place, part in enumerate(parts):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and place == 0 and attack.positional is not None:
            option, value = attack.positional, option
        elif not equals or option not in attack.model_fields:
            fix = nearest(option, attack.model_fields)
            raise ConfigError(f"{name} has no option {part!r}", where=item, expected="name=value", fix=fix)
        if option in values:
            raise ConfigError(f"the option {option!r} is given twice", where=item)
        values[option] = None if value.lower() == "none" else value
    if queries is not None:
        values.setdefault("queries", queries)
    try:
        return attack(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(f"{name}: {where}: {fault['msg']}", where=item) from None
