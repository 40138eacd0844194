"""Every seed, and whatever once broke a promise, keeps every promise now; so do the odd mails of tests/data."""

import pytest

from tests.corpus import corpus
from tests.fuzz.parser import FINDINGS, SEEDS, parsers

PARSERS = parsers()
OF_MESSAGES = (
    "client_smuggling",
    "client_stuffing",
    "dkim_body",
    "dkim_header",
    "line_ends",
    "merge_message",
    "message",
    "mime_parts",
    "mime_seven_bit",
    "mime_texts",
    "spam_checks",
)


@pytest.mark.parametrize("name", PARSERS)
def test_seeds_and_findings(name: str) -> None:
    examples = list(PARSERS[name].examples())
    assert examples, f"tests/fuzz/seeds/{name} is empty"
    for example in examples:
        octets = example.read_bytes()
        try:
            PARSERS[name].replay(octets)
        except Exception as error:
            raise AssertionError(f"{example.parent.parent.name}/{name}/{example.name}: {octets!r}") from error


@pytest.mark.parametrize("name", OF_MESSAGES)
def test_odd_mails(name: str) -> None:
    for mail, octets in corpus():
        try:
            PARSERS[name].replay(octets)
        except Exception as error:
            raise AssertionError(mail) from error


def test_every_example_has_its_parser() -> None:
    folders = {folder.name for place in (SEEDS, FINDINGS) for folder in place.glob("*")}
    assert folders <= PARSERS.keys()
