"""`understudy methods`."""

from dataclasses import asdict
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from understudy import catalogue
from understudy.cli.printing import print_json
from understudy.errors import ConfigError, nearest


def methods(
    *,
    family: str | None = None,
    access: Literal["weights", "logits", "top-k", "labels", "embeddings", "none"] | None = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """List the methods: family, paper, and what each needs.

    Args:
        family: Only the methods of this family.
        access: Only the methods that need this access to a teacher or target.
        json: Print one JSON object and nothing else.
    """
    families = {entry.family for entry in catalogue.entries().values()}
    if family not in (None, *families):
        raise ConfigError(f"there is no family {family!r}", where="--family", fix=nearest(str(family), families))
    rows = {
        name: entry
        for name, entry in catalogue.entries().items()
        if family in (None, entry.family) and access in (None, entry.access)
    }
    if json:
        print_json({name: asdict(entry) for name, entry in rows.items()})
        return
    table = Table("method", "needs", "what it does", show_lines=True)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for name, entry in rows.items():
        needs = f"teacher: {entry.access}\ndata: {'yes' if entry.data else 'no'}"
        what = f"{entry.summary}\n{entry.paper}\n{entry.family}, {entry.fidelity}: understudy {entry.verb} {name}"
        table.add_row(name, needs, what)
    Console(highlight=False).print(table)
