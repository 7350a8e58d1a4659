"""Pages carry everything they need, and no text gets out of its place."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.core.html import (
    Html,
    drawing,
    element,
    html_escape,
    page,
    picture,
    script_data,
    table,
)

NASTY = """</script><script>alert(1)</script><img src=x onerror="alert(2)">' & \u2028"""


class Reader(HTMLParser):
    """Collects the elements and the text of a page, as a browser would see them."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str):
        self.texts.append(data)


def test_nasty_text_stays_text_everywhere():
    made = page(
        NASTY,
        [
            (
                NASTY,
                [NASTY, table([NASTY], [[NASTY], [0.123456]]), script_data("d", {NASTY: NASTY})],
            ),
            ("pictures", [picture(b"png", alt=NASTY), drawing(f"<svg>{NASTY}</svg>", alt=NASTY)]),
        ],
    )
    seen = Reader(made)
    assert sum(tag == "script" for tag, _ in seen.elements) == 1
    assert sum(tag == "img" for tag, _ in seen.elements) == 2
    assert not any(name.startswith("on") for _, words in seen.elements for name in words)
    assert seen.texts.count(NASTY) == 6  # title, h1, h2, paragraph, table head and cell
    assert "0.1235" in seen.texts


def test_a_page_asks_no_one_for_anything():
    made = page("title", [("part", [picture(b"x", alt="a picture")])])
    words = [
        (name, value or "") for _, attrs in Reader(made).elements for name, value in attrs.items()
    ]
    assert all(value.startswith("data:") for name, value in words if name in ("src", "href"))
    assert "default-src 'none'" in made
    assert not re.search(r"https?:|@import|url\(", made)
    assert "prefers-color-scheme: dark" in made


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: (
            st.lists(x) | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), x)
        ),
    )
)
def test_embedded_data_comes_back(value: Any):
    made = script_data("d", value)
    inside = made.removeprefix('<script type="application/json" id="d">').removesuffix("</script>")
    assert not set("<>&") & set(inside)
    assert json.loads(inside) == value


@given(st.text())
def test_escaped_text_comes_back(text: str):
    text = text.replace("\r", "").replace("\0", "")  # a parser normalises these two
    assert "".join(Reader(html_escape(text)).texts) == text
    (_, words), *rest = Reader(element("p", title=text)).elements
    assert words["title"] == text
    assert not rest


def test_safe_html_is_escaped_once_but_never_trusted_in_an_attribute():
    assert element("p", element("b", "<")) == "<p><b>&lt;</b></p>"
    assert element("p", title=Html('"')) == '<p title="&quot;"></p>'


def test_data_that_json_cannot_say_is_refused():
    with pytest.raises(VesaliusError):
        script_data("d", object())
