"""Cells of a table as text for a terminal, as Markdown and as HTML.

Cells come from a function of the marks that go before and after what stands
out, so that each form can mark it in its own way.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

Cells = Callable[[tuple[str, str]], list[list[str]]]
"""Heading and rows, given what goes before and after a marked cell."""


def as_text(cells: Cells, title: str = '', note: str = '') -> str:
    """For a terminal; what is marked has a star.

    Args:
        cells: Heading and rows.
        title: Stands above.
        note: Stands below.
    """
    # The star takes the place of a space, so that the points line up.
    rows = [
        [row[0], *(c if c.endswith('*') else f'{c} ' for c in row[1:])]
        for row in cells(('', '*'))
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [title] if title else []
    for number, row in enumerate(rows):
        shown = [row[0].ljust(widths[0])]
        shown += [
            cell.rjust(width)
            for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append('  '.join(shown).rstrip())
        if number == 0:
            lines.append('-' * (sum(widths) + 2 * len(widths) - 2))
    if note:
        lines.append(note)
    return '\n'.join(lines)


def as_markdown(
    cells: Cells, title: str = '', note: str = '', is_text: bool = False
) -> str:
    """As a Markdown table; what is marked is bold.

    Args:
        cells: Heading and rows.
        title: Stands above.
        note: Stands below.
        is_text: Whether cells are sentences, which stand from the left.
    """
    rows = [
        [cell.replace('|', '\\|') for cell in row]
        for row in cells(('**', '**'))
    ]
    lines = [' | '.join(row).join(('| ', ' |')) for row in rows]
    column = '---|' if is_text else '---:|'
    rule = '|---|' + column * (len(rows[0]) - 1)
    parts = [f'**{title}**\n'] if title else []
    parts += [lines[0], rule, *lines[1:]]
    parts += [f'\n{note}'] if note else []
    return '\n'.join(parts)


def as_html(
    cells: Cells, title: str = '', note: str = '', is_text: bool = False
) -> str:
    """As an HTML table that scrolls where it is too wide.

    Args:
        cells: Heading and rows.
        title: Stands above.
        note: Stands below.
        is_text: Whether cells are sentences: from the left, in lines, and
            what is marked in red.
    """
    opened, closed = '\x02', '\x03'
    rows = [
        [
            escape(cell).replace(opened, '<b>').replace(closed, '</b>')
            for cell in row
        ]
        for row in cells((opened, closed))
    ]
    head = ''.join(f'<th>{cell}</th>' for cell in rows[0])
    body = ''
    for row in rows[1:]:
        shown = ''.join(f'<td>{cell}</td>' for cell in row[1:])
        body += f'<tr><th>{row[0]}</th>{shown}</tr>\n'
    above = f'<caption>{escape(title)}</caption>' if title else ''
    below = f'<p class="note">{escape(note)}</p>' if note else ''
    opening = '<table class="texts">' if is_text else '<table>'
    return (
        f'<div class="wide">{opening}{above}<thead><tr>{head}</tr></thead>'
        f'<tbody>\n{body}</tbody></table></div>{below}'
    )
