"""Reports as one HTML file that loads nothing and shows whatever it is given as text."""

from __future__ import annotations

from typing import Any

_HEAD = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100% }
table { border-collapse: collapse; margin: .5rem 0 1.5rem } caption { text-align: left; font-weight: 600 }
th, td { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #ddd }
td.n, .figures th, .figures td { text-align: right; font-variant-numeric: tabular-nums }
code { white-space: pre-wrap; overflow-wrap: anywhere }
</style>
<h1>{{ title }}</h1>
"""


def render_page(title: str, body: str, **values: Any) -> str:
    """A page of that title around a Jinja template; values are escaped, an unknown name is an error.

    Tables of the class `figures` are set to the right, as are cells of the class `n`. Pictures are `data:`
    addresses.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(f"{_HEAD}{body}</html>").render(title=title, **values) + "\n"
