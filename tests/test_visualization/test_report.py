import base64
import io
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from PIL import Image

from sparc_vlm.visualization import Measure, Page, Table


class Checker(HTMLParser):
    """Tags that open and close in order, and what the page would load."""

    VOID = {'meta', 'img', 'br', 'link'}

    def __init__(self):
        super().__init__()
        self.stack, self.sources, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        self.sources += [
            attributes[key] for key in ('src', 'href') if key in attributes
        ]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


@pytest.fixture
def page():
    page = Page('CLIP & SPARC')
    page.heading('Numbers <1>')
    page.text('Made by `make quickstart` & co.')
    page.items(['one', '`two`'])
    page.table(
        Table([Measure('r', 'R@1')], {'a': {'r': 1.0}, 'b': {'r': 2.0}})
    )
    page.figure(Image.new('RGB', (4, 3), 'red'), 'red', 'All "red"')
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    page.figure(figure, 'plot')
    return page


def test_html_is_whole_and_needs_nothing_else(page):
    html = page.html()
    checker = Checker()
    checker.feed(html)
    assert not checker.stack
    assert checker.sources
    assert all(s.startswith('data:image/png;base64,') for s in checker.sources)
    assert not {'script', 'link', 'iframe'} & set(checker.tags)
    assert 'name="viewport"' in html
    assert 'CLIP &amp; SPARC' in html
    assert '<h2>Numbers &lt;1&gt;</h2>' in html
    assert '<code>make quickstart</code> &amp; co.' in html


def test_pictures_survive(page):
    encoded = re.search('base64,([^"]+)"', page.html()).group(1)
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert image.size == (4, 3)
    assert image.getpixel((0, 0)) == (255, 0, 0)


def test_saved_page_has_its_markdown_and_its_pictures(page, tmp_path):
    path = page.save(tmp_path / 'report')
    assert path.read_text('utf-8') == page.html()
    markdown = (tmp_path / 'report' / 'index.md').read_text('utf-8')
    assert markdown.startswith('# CLIP & SPARC\n')
    assert '| R@1 | 1.0 | **2.0** |' in markdown
    pictures = re.findall(r'\]\((figures/.*?)\)', markdown)
    assert pictures == ['figures/red.png', 'figures/plot.png']
    for picture in pictures:
        Image.open(path.parent / picture).verify()
    # A picture that is a file already is taken as it is.
    other = Page('x')
    other.figure(path.parent / pictures[0], 'again')
    other.save(tmp_path / 'other')
    again = tmp_path / 'other' / 'figures' / 'again.png'
    assert again.read_bytes() == (path.parent / pictures[0]).read_bytes()


def test_a_name_is_used_once(page):
    with pytest.raises(ValueError, match="already has a picture named 'red'"):
        page.figure(Image.new('RGB', (1, 1)), 'red')
