"""The author's domain: what a From field of the real world says, and where it says nothing certain."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mtaframe import Message
from mtaframe.author import a_labels, domains
from mtaframe_plugins.dkim.author import author_domain

CERTAIN = [
    "a@x.example",
    "<a@x.example>",
    "Alice <a@x.example>",
    "Alice <a@X.Example.>",
    '"Doe, J. <a@y.example>" <a@x.example>',
    "a@y.example <a@x.example>",
    "Alice (c (n) a@y.example) <a@x.example> (z)",
    "=?utf-8?q?J=C3=B6rg?= <a@x.example>",
    "Us: a@x.example, B <b@x.example>;",
    "Doe, John <a@x.example>",
    '"unclosed <a@x.example>',
    "smile :( <a@x.example>",
    '"quoted local"@x.example',
    '"a@y.example"@x.example',
    "a @ x . example",
    "<a@x.example",
    "<@relay.example:a@x.example>",
    "root, a@x.example",
    "Jörg <a@x.example>",
    r'"a \" b <a@y.example>" <a@x.example>',
]
NOTHING = ["", "root", "undisclosed:;", "MAILER DAEMON <>", "Alice", "@", "(a@x.example)", '"a@x.example"']
UNCERTAIN = [
    "a@x.example, b@y.example",
    "<a@x.example> <b@y.example>",
    "Alice <a@x.example, b@y.example",
    "a@x.example@y.example",
    "Us: a@x.example;, b@y.example",
]


def mail(*values: str) -> Message:
    return Message("".join(f"From: {value}\r\n" for value in values).encode(), b"")


@pytest.mark.parametrize("value", CERTAIN)
def test_one_domain_is_found(value: str) -> None:
    assert author_domain(mail(value)) == "x.example"


@pytest.mark.parametrize("value", NOTHING)
def test_no_domain_is_none(value: str) -> None:
    assert author_domain(mail(value)) is None


@pytest.mark.parametrize("value", UNCERTAIN)
def test_several_domains_are_none(value: str) -> None:
    assert author_domain(mail(value)) is None


def test_several_fields_must_agree() -> None:
    assert author_domain(mail("a@x.example", "b@X.example")) == "x.example"
    assert author_domain(mail("a@x.example", "b@y.example")) is None
    assert author_domain(Message(b"To: a@x.example\r\n", b"")) is None


def test_a_folded_field_is_unfolded() -> None:
    assert author_domain(Message(b"FROM:\r\n Alice\r\n\t<a@x.\r\n example>\r\n", b"")) == "x.example"


def test_domains_become_a_labels() -> None:
    assert author_domain(mail("a@Bücher.Example.")) == "xn--bcher-kva.example"
    assert author_domain(mail("a@straße.example")) == "xn--strae-oqa.example"
    assert author_domain(mail("a@bu\u0308cher.example, b@xn--bcher-kva.example")) == "xn--bcher-kva.example"


@pytest.mark.parametrize("label", ["".join(map(chr, range(0x4E00, 0x9E00))), "a." * 100_000])
def test_what_is_no_domain_costs_no_time(label: str) -> None:
    began = time.process_time()
    assert author_domain(mail(f"a@{label}.x.example")) is None
    assert author_domain(mail(", ".join(f"a@{label[n : n + 60]}.x.example" for n in range(5000)))) is None
    assert time.process_time() - began < 2


@given(st.text('ab@.<>()[]",:;\\ \udcff\u00fc', max_size=60))
def test_nothing_makes_it_fail(value: str) -> None:
    assert all(isinstance(domain, str) for domain in domains(value))


@pytest.mark.parametrize("unit", ['"\\"', "<[a]", "(", "[a", "<", "a,", '"', '(")', "a@", "<a@x>", "\\"])
def test_it_takes_linear_time(unit: str) -> None:
    def took(size: int) -> float:
        began = time.process_time()
        domains(unit * (size // len(unit)))
        return time.process_time() - began

    small = min(took(20_000) for _ in range(3))
    assert min(took(320_000) for _ in range(3)) < 80 * max(small, 0.0005)


@given(st.text('ab@.<>,;:()"\\ =?é[]-\t', max_size=30))
@example('"a, b" <a@b-a.example>')
@example("a@b")
@example("a.b <a@b>")
@example("=?a?= <..@a>")
def test_the_short_way_finds_what_the_long_one_does(value: str) -> None:
    """Nearly every From field is read by one expression; it may never see more in it than the grammar does."""
    [field] = mail(value).all("From")
    found = {a_labels(domain) for domain in domains(field.value)}
    assert author_domain(mail(value)) == (found.pop() if len(found) == 1 else None)
