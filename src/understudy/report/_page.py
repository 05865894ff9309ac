"""The shell of every page: the template engine, the style, and the one script that draws the figures."""

import base64
import gzip
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from understudy.runs.files import write_text


def write_page(path: Path, template: str, values: Mapping[str, Any], *, figures: bool) -> Path:
    """Fill a template and write the page, whole or not at all.

    Args:
        path: the HTML file.
        template: a file of `templates/` that extends `page.html`.
        values: what the template shows; everything is escaped.
        figures: whether the page has figures, and needs the script that draws them.

    Raises:
        StorageError: the file cannot be written.
    """
    page = _engine().get_template(template)
    write_text(path, page.render(**values, plotly=_plotly_gzip() if figures else ""))
    return path


@cache
def _engine() -> Environment:
    return Environment(
        loader=PackageLoader("understudy.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _plotly_gzip() -> str:
    # Plain, the library alone makes a page of 4.8 MB; browsers since 2023 unpack gzip themselves.
    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode("ascii")
