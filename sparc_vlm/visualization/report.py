"""A page of results: text, tables and figures, as HTML and as Markdown.

The HTML is one file that needs nothing else: style inline, pictures inside.
"""

from __future__ import annotations

import base64
import io
import re
from html import escape
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from sparc_vlm.errors import UsageError
from sparc_vlm.visualization.tables import Table

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2129;
  background: #fff; max-width: 62rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid #e3e6ea; }
p, ul { max-width: 44rem; }
code { font: .88em ui-monospace, monospace; background: #f3f4f6;
  padding: .1em .3em; border-radius: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .32rem .9rem; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; font-weight: 500; }
thead th { border-bottom: 2px solid #1d2129; font-weight: 600; }
tbody tr + tr > * { border-top: 1px solid #eceef1; }
.texts td { text-align: left; white-space: normal; }
.texts b { color: #b3261e; }
figure { margin: 1.2rem 0; overflow-x: auto; }
figure img { max-width: 100%; height: auto; }
figcaption, .note { color: #5a6270; font-size: .9rem; }
@media (max-width: 40rem) { figure img { max-width: none; }
  th, td { padding: .3rem .5rem; } }
"""


class Page:
    """A page that grows from top to bottom.

    Args:
        title: Its heading.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._html: list[str] = []
        self._markdown: list[str] = []
        self._pictures: dict[str, bytes] = {}

    def heading(self, text: str) -> None:
        """Begins a section."""
        self._html.append(f'<h2>{escape(text)}</h2>')
        self._markdown.append(f'## {text}')

    def text(self, text: str) -> None:
        """Adds a paragraph; `code` in backticks is set as such."""
        self._html.append(f'<p>{_inline(text)}</p>')
        self._markdown.append(text)

    def items(self, texts: list[str]) -> None:
        """Adds a list of short texts."""
        lines = ''.join(f'<li>{_inline(text)}</li>' for text in texts)
        self._html.append(f'<ul>{lines}</ul>')
        self._markdown.append('\n'.join(f'- {text}' for text in texts))

    def table(self, table: Table) -> None:
        """Adds a table."""
        self._html.append(table.html())
        self._markdown.append(table.markdown())

    def figure(
        self,
        picture: Figure | Image.Image | str | Path,
        name: str,
        caption: str = '',
        dpi: int = 110,
    ) -> None:
        """Adds a picture.

        Args:
            picture: A matplotlib figure, a PIL picture, or the path of a PNG.
            name: Its file beside the Markdown, without the ending; a name
                can be used once.
            caption: Stands below it, and for it where it cannot be seen.
            dpi: Of a matplotlib figure.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._pictures:
            raise UsageError(f'the page already has a picture named {name!r}')
        data = _png(picture, dpi)
        self._pictures[name] = data
        text = base64.b64encode(data).decode()
        below = f'<figcaption>{_inline(caption)}</figcaption>'
        self._html.append(
            f'<figure><img src="data:image/png;base64,{text}" '
            f'alt="{escape(caption or name)}">{below if caption else ""}'
            '</figure>'
        )
        self._markdown.append(
            f'![{caption or name}](figures/{name}.png)'
            + (f'\n\n*{caption}*' if caption else '')
        )

    def html(self) -> str:
        """The page as one HTML file."""
        body = '\n'.join(self._html)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n'
            '<meta charset="utf-8">\n<meta name="viewport" '
            'content="width=device-width, initial-scale=1">\n'
            f'<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n'
            f'</head>\n<body>\n<h1>{escape(self.title)}</h1>\n{body}\n'
            '</body>\n</html>\n'
        )

    def markdown(self) -> str:
        """The page as Markdown; its pictures are files in `figures/`."""
        return '\n\n'.join([f'# {self.title}', *self._markdown]) + '\n'

    def save(self, folder: str | Path, name: str = 'index') -> Path:
        """Writes `<name>.html`, `<name>.md` and `figures/*.png`.

        Args:
            folder: Made if need be.
            name: Of the two files, without an ending.

        Returns:
            The path of the HTML file.
        """
        folder = Path(folder)
        figures = folder / 'figures'
        figures.mkdir(parents=True, exist_ok=True)
        for picture, data in self._pictures.items():
            (figures / f'{picture}.png').write_bytes(data)
        (folder / f'{name}.md').write_text(self.markdown(), 'utf-8')
        path = folder / f'{name}.html'
        path.write_text(self.html(), 'utf-8')
        return path


def _inline(text: str) -> str:
    """Escaped text with `code` marked."""
    return re.sub(r'`([^`]+)`', r'<code>\1</code>', escape(text))


def _png(picture: Figure | Image.Image | str | Path, dpi: int) -> bytes:
    """Any picture as the bytes of a PNG."""
    if isinstance(picture, (str, Path)):
        return Path(picture).read_bytes()
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format='png', dpi=dpi, facecolor='white')
    else:
        picture.save(buffer, format='PNG')
    return buffer.getvalue()
