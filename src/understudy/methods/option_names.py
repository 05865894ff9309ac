"""What the options of a method are called where only their own names are shown: on command lines."""

from collections.abc import Sequence


def flag_name(path: Sequence[str]) -> str:
    """Return the name of the option at a path of fields; those of a second recipe carry that recipe's name.

    Example:
        >>> flag_name(("fit", "epochs")), flag_name(("clean_fit", "epochs"))
        ('epochs', 'clean_epochs')
    """
    table = path[-2] if len(path) > 1 else ""
    return f"{table.removesuffix('fit')}{path[-1]}" if table.endswith("_fit") else path[-1]
