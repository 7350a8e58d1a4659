"""One HTML page in one file: no network, no script of others, every text escaped.

``Html`` is text that is already safe; whatever else goes in comes out escaped. A page forbids
itself, by its content security policy, to load anything that it does not carry.

Source: the design of this project, docs/decisions.md; OWASP Cross Site Scripting Prevention
Cheat Sheet, rules 1, 2 and 3.1 (text, attributes, JSON in a script element).
"""

import base64
import html
import json
import re
from collections.abc import Sequence
from typing import Final, final

from vesalius.core.codec import plain

_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfcf9; --rule: #d8d4ca; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e6e0; --paper: #17181a; --rule: #3c3d40; }
  img { background: #fdfcf9; border-radius: 4px; }
}
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1, h2 { font-weight: 600; line-height: 1.2; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--rule); padding-top: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--rule); text-align: left; }
td.number { text-align: right; }
img { max-width: 100%; height: auto; }
pre, code { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; }
"""


@final
class Html(str):
    """Text that is safe HTML already: made by this module, or by whoever vouches for it."""

    __slots__ = ()


def html_escape(text: object) -> Html:
    """Escape a text, unless it is Html, for the inside of an element or a quoted attribute.

    >>> html_escape("</script><b title='x'>")
    '&lt;/script&gt;&lt;b title=&#x27;x&#x27;&gt;'
    """
    return text if isinstance(text, Html) else Html(html.escape(str(text), quote=True))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """Build an element; children and attribute values are escaped, ``class_`` means ``class``.

    >>> element("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    words = [tag, *(f'{key.rstrip("_")}="{html.escape(str(v))}"' for key, v in attributes.items())]
    opening = " ".join(words)
    if tag in ("img", "meta", "br", "hr"):
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{''.join(map(html_escape, children))}</{tag}>")


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> Html:
    """Build a table; numbers are set to the right, floats with four significant digits."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = [element("tr", *map(_cell, row)) for row in rows]
    return element("table", element("thead", head), element("tbody", *body))


def picture(png: bytes, *, alt: str) -> Html:
    """Embed a PNG; ``alt`` says in words what it shows."""
    return _image("image/png", png, alt)


def drawing(svg: str, *, alt: str) -> Html:
    """Embed an SVG as an image, in which a browser runs no script and follows no link."""
    return _image("image/svg+xml", svg.encode(), alt)


def script_data(name: str, value: object) -> Html:
    """Embed data for a script: ``JSON.parse(document.getElementById(name).textContent)``.

    ``<``, ``>`` and ``&`` are written as JSON escapes, so no text can close the element.

    Raises:
        VesaliusError: a value that JSON cannot say.

    >>> script_data("d", ["</script>"])
    '<script type="application/json" id="d">["\\\\u003c/script\\\\u003e"]</script>'
    """
    text = json.dumps(plain(value), allow_nan=False)  # ASCII only: U+2028 is escaped as well
    safe = re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", text)
    return element("script", Html(safe), type="application/json", id=name)


def page(title: str, sections: Sequence[tuple[str, Sequence[object]]]) -> Html:
    """Build the whole page from sections: a heading and its parts, plain texts as paragraphs."""
    parts = [
        element("section", element("h2", heading), *map(_paragraph, body))
        for heading, body in sections
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(_STYLE)),
    )
    body = element("body", element("main", element("h1", title), *parts))
    return Html("<!doctype html>\n" + element("html", head, body, lang="en") + "\n")


def _paragraph(part: object) -> Html:
    return part if isinstance(part, Html) else element("p", part)


def _cell(value: object) -> Html:
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value) if isinstance(value, int) else f"{value:.4g}"
        return element("td", text, class_="number")
    return element("td", value)


def _image(mime: str, content: bytes, alt: str) -> Html:
    data = base64.b64encode(content).decode("ascii")
    return element("img", src=f"data:{mime};base64,{data}", alt=alt)
