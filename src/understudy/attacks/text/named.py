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

_WANTED = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_parsing": "true or false",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "literal_error": "{expected}",
}
"""What pydantic's kinds of fault ask for, in words."""


def text_attack(name: str, *, where: str = "attack") -> type[TextAttack]:
    """Return the class of an attack.

    Args:
        name: one of `TEXT_ATTACKS`.
        where: the flag or the list that names it.

    Raises:
        ConfigError: no attack has the name; near names are listed.
    """
    if name not in TEXT_ATTACKS:
        raise ConfigError(f"there is no text attack {name!r}", where=where, fix=nearest(name, TEXT_ATTACKS))
    module, _, attribute = TEXT_ATTACKS[name].partition(":")
    found: type[TextAttack] = getattr(import_module(module), attribute)
    return found


def parse_text_attacks(text: str, *, queries: int | None = None, where: str = "attack") -> tuple[TextAttack, ...]:
    """Return the attacks that a list names: items by commas, options by colons.

    Args:
        text: such as "deepwordbug,pwws:max_candidates=8:queries=200"; "" and "none" are no attack.
        queries: budget of the attacks that do not give one of their own; None leaves each at its default.
        where: the flag that holds the list.

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
    attacks = tuple(_parse(item, queries, where) for item in items)
    specs = [attack.spec for attack in attacks]
    if twice := next((spec for spec in specs if specs.count(spec) > 1), None):
        raise ConfigError(f"the attack {twice} is named twice", where=f"{where} {text}", fix="name it once")
    return attacks


def _parse(item: str, queries: int | None, where: str) -> TextAttack:
    name, *parts = (part.strip() for part in item.split(":"))
    attack = text_attack(name.lower(), where=where)
    place = f"{where} {item}"
    values: dict[str, Any] = {}
    for number, part in enumerate(parts):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and number == 0 and attack.positional is not None:
            option, value = attack.positional, option
        elif not equals or option not in attack.model_fields:
            fix = nearest(option, attack.model_fields)
            raise ConfigError(f"{name} has no option {part!r}", where=place, expected="name=value", fix=fix)
        if option in values:
            raise ConfigError(f"the option {option!r} is given twice", where=place, fix="give it once")
        values[option] = None if value.lower() == "none" else value
    if queries is not None:
        values.setdefault("queries", queries)
    try:
        return attack(**values)
    except ValidationError as error:
        raise _refused(name, error, place) from None


def _refused(name: str, error: ValidationError, where: str) -> ConfigError:
    """Return the first of pydantic's faults in words of ours."""
    fault = error.errors()[0]
    option = ".".join(str(part) for part in fault["loc"])
    wanted = _WANTED.get(fault["type"])
    if wanted is None or not option:
        return ConfigError(f"{name}: {option}: {fault['msg']}", where=where)
    return ConfigError(
        f"{option} of {name} is {fault['input']}",
        where=where,
        expected=wanted.format(**fault.get("ctx", {})),
        fix=f"give another value, or leave out {option}",
    )
