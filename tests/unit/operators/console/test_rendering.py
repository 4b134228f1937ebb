"""Templates write whatever a dead letter holds as text, and nothing of it as HTML."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from starlette.requests import Request

from shared.events.dead_letter_table import DeadLetterSummary, LetterKind, Mismatch
from worker.operators.console import rendering
from worker.operators.console.charts import shares
from worker.operators.console.rendering import CUT, Pages, exact, link, number, segment
from worker.operators.dead_letters.listing import summarize

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TEMPLATES = sorted((Path(rendering.__file__).parent / "templates").glob("*.html"))
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' autofocus onfocus='alert(3)",
    "</title></textarea></pre><svg onload=alert(4)>",
    "{{ 7 * 7 }}{% for x in y %}",
    "javascript:alert(5)",
    "&lt;b&gt; &amp;",
]


class Tree(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str | None]:
        """The values of the form's fields of that name."""
        return [attrs.get("value") for tag, attrs in self.elements if tag == "input" and attrs.get("name") == name]


def page(template: str, path: str = "/", **values: Any) -> Tree:
    request = Request({"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""})
    answer = Pages(place="emulator: i/d", form_token="f").page(request, template, **values)
    return Tree(bytes(answer.body).decode())


def dead_letters(name: str) -> Tree:
    letter = DeadLetterSummary(
        subject=name, message_id=name, kind=LetterKind.REASONED, reason=name, dead_at=AT, event_id=name,
        event_name=name, caller=name,
    )  # fmt: skip
    groups: list[Any] = []
    summary = summarize(groups, [letter], Mismatch(0, 0), now=AT, newest=True) | {"events": 1, "oldest": AT}
    return page(
        "dead_letters.html",
        "/dead-letters",
        summary=summary | {"by_reason": {name: 1}},
        pages=[(letter, f"/events/{segment(name)}")],
        at=AT,
        newest=True,
        next_page={"after": AT, "after_subject": name},
        is_first_page=True,
        filters={"reason": "Reason"},
        query={"reason": name},
        fields=[("reason", name)],
        charts=[("By reason", "reason", shares({name: 1}))],
        mismatches=[],
    )


KNOWN = page("trouble.html", title="Not found", sentence="There is none.")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_value_adds_no_element_and_no_attribute(text: str) -> None:
    harmless, hostile = dead_letters("order_paid"), dead_letters(text)

    assert [(tag, set(attrs)) for tag, attrs in hostile.elements] == [
        (tag, set(attrs)) for tag, attrs in harmless.elements
    ]
    assert hostile.text.count(text) == harmless.text.count("order_paid") > 0
    assert hostile.values("reason") == [text]
    links = [attrs["href"] or "" for tag, attrs in hostile.elements if tag in ("a", "link")]
    assert all(each.startswith(("/", "#")) and not each.startswith("//") for each in links)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_sentence_is_text_too(text: str) -> None:
    assert len(page("trouble.html", title=text, sentence=text).elements) == len(KNOWN.elements)


def test_what_turns_or_hides_text_is_replaced() -> None:
    text = "user\u202etxt.exe\u2066\x00\x1b[31m\u200b"

    shown = page("trouble.html", title="t", sentence=text).text

    assert "user\ufffdtxt.exe\ufffd\ufffd\ufffd[31m\ufffd" in shown
    assert not set(text) & set(shown) - set("usertxt.[31m")


def test_a_field_sends_back_what_was_asked_for_and_not_what_is_shown() -> None:
    name = 'a\u202eb "c" <d>'

    assert dead_letters(name).values("reason") == [name]
    assert exact("<\u202e") == "&lt;\u202e"


def test_a_long_value_is_cut_and_unfolds() -> None:
    text = "x" * 65_536

    tree = dead_letters(text)

    assert tree.text.count(text[:CUT] + "…") == 3  # reason, name and caller; the event's id is in the link
    assert "all 65,536 characters" in tree.text
    assert sum(tag == "details" for tag, _ in tree.elements) == 3
    assert sum(tag == "pre" for tag, _ in tree.elements) == 3


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_trust_nothing_and_have_nothing_inline(template: Path) -> None:
    text = template.read_text()

    assert not re.search(r"\|\s*safe\b|autoescape|Markup", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=\"/static/)|https?://", text)
    assert all(
        'name="form_token"' in form for form in re.findall(r'<form[^>]*method="post".*?</form>', text, re.DOTALL)
    )
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        assert "<caption>" in table
        assert all("scope=" in cell for cell in re.findall(r"<th\b[^>]*>", table))


def test_every_field_has_a_label() -> None:
    for template in TEMPLATES:
        text = template.read_text()
        for field in re.findall(r"<(?:input|select)\b[^>]*>", text):
            found = re.search(r'\bid="([^"]+)"', field)
            assert 'type="hidden"' in field or 'type="checkbox"' in field or found, field
            assert found is None or f'for="{found[1]}"' in text, field


def test_a_value_that_is_missing_is_a_failure_and_not_an_empty_place() -> None:
    with pytest.raises(UndefinedError):
        page("trouble.html", title="t")


def test_links_keep_filters_and_leave_out_what_is_empty() -> None:
    fields = [("reason", "a b"), ("reason", "c"), ("caller", "")]

    assert link("/x", fields) == "/x?reason=a+b&reason=c"
    assert link("/x", fields, reason="d&e", after=AT) == "/x?reason=d%26e&after=2026-03-04T05%3A06%3A07%2B00%3A00"
    assert link("/x", fields[2:], order=None) == "/x"
    assert segment("../a?b#c/%") == "..%2Fa%3Fb%23c%2F%25"


def test_numbers_are_readable() -> None:
    assert (number(1234567), number(0), number(12.345)) == ("1,234,567", "0", "12.3")
