"""The pieces of a self-contained HTML page: text, tables, figures. Everything is escaped here."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from fusion_search.analysis.figures.drawing import image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ID: Final = re.compile("[0-9a-f]{12}")  # of a trial; many begin with a digit
_DOTS_PER_INCH: Final = 120
_SMALLEST: Final = 66  # pixels per inch; a narrower screen scrolls sideways

_STYLE: Final = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --paper: #ffffff; --panel: #f5f7fa;
  --accent: #1f5fa8; --note: #fff6dc; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --soft: #9aa6b5; --line: #3a4452; --paper: #161b22; --panel: #1e252e;
    --accent: #7fb2ee; --note: #3a3215; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-bottom: .2rem;
  border-bottom: 1px solid var(--line); }
p { max-width: 46rem; }
nav { font-size: .9rem; margin: 1rem 0; } nav a { margin-right: .9rem; white-space: nowrap; }
a { color: var(--accent); }
.note { background: var(--note); padding: .5rem .8rem; border-radius: .3rem; }
.lead { font-size: 1.1rem; }
.absent { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; margin: .6rem 0; }
th, td { padding: .3rem .65rem; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th, th.number { color: var(--soft); font-weight: 600; white-space: normal; }
td:first-child:not(.number) { min-width: 9rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: .3rem; }
code, pre { font: .86rem/1.45 ui-monospace, Menlo, Consolas, monospace; background: var(--panel);
  border-radius: .25rem; }
code { padding: .05rem .3rem; overflow-wrap: anywhere; } pre { padding: .8rem; overflow-x: auto; }
summary { cursor: pointer; color: var(--accent); }
@media print { body { max-width: none; font-size: 10pt; } nav { display: none; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } .scroll { overflow: visible; }
  img { min-width: 0 !important; } }
"""


def page(title: str, lead: Sequence[str], sections: Mapping[str, Sequence[str]]) -> str:
    """A whole page.

    Args:
        title: plain text.
        lead: pieces of HTML before the table of contents.
        sections: heading (plain text) -> pieces of HTML.
    """
    links = " ".join(
        f'<a href="#section{number}">{escape(name)}</a>'
        for number, name in enumerate(sections, start=1)
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *lead,
        f"<nav>{links}</nav>",
    ]
    for number, (name, content) in enumerate(sections.items(), start=1):
        parts += [f'<section id="section{number}"><h2>{escape(name)}</h2>', *content, "</section>"]
    return "\n".join([*parts, "</body></html>", ""])


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; ``kind`` is one of lead, note, absent."""
    content = escape(text).replace(" %", "&nbsp;%")
    return f'<p class="{kind}">{content}</p>' if kind else f"<p>{content}</p>"


def missing(text: str, command: str | None) -> str:
    """Says what is not there and the command that makes it, where one does."""
    code = "" if command is None else f" <code>{escape(command)}</code>"
    return f'<p class="absent">{escape(text)}{code}</p>'


def code(text: str) -> str:
    """Lines to copy."""
    return f"<pre>{escape(text)}</pre>"


def details(summary: str, content: str) -> str:
    """HTML that is folded away."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of plain values; a column that starts with a number, no id, is set to the right."""
    body, lines = [list(map(str, row)) for row in rows], []
    for row in body:
        cells = [
            f"<td{_alignment(body[0][column])}>{escape(cell)}</td>"
            for column, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(
        f"<th{_alignment(body[0][column]) if body else ''}>{escape(name)}</th>"
        for column, name in enumerate(headings)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(rows: Mapping[str, object]) -> str:
    """Names and values below each other."""
    lines = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f'<div class="scroll"><table><tbody>{lines}</tbody></table></div>'


def picture(figure: Figure, caption: str) -> str:
    """A figure inside the page, with how to read it."""
    width = round(figure.get_size_inches()[0] * _SMALLEST)
    data = base64.b64encode(image(figure, "png", _DOTS_PER_INCH)).decode()
    return (
        f'<figure><div class="scroll"><img style="min-width: {width}px" '
        f'src="data:image/png;base64,{data}" '
        f'alt="{escape(caption, quote=True)}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _alignment(cell: str) -> str:
    number = cell.removeprefix("< ")  # a small p
    is_number = number[:1] in "-+0123456789" and number and not _ID.fullmatch(number)
    return ' class="number"' if is_number else ""
