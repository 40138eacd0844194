import email
import email.policy
import html
import json
import re
import time
import tomllib
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtaframe import Delivery, Envelope, Message, Reject, parts
from mtaframe.reference import settings_table
from mtaframe.testing import RecordingMta, delivery, envelope, message, recipient
from mtaframe_plugins.merge_tags import MergeTags

ROOT = Path(__file__).parents[2]
JOE, EVE = "joe@example.net", "eve@example.org"


def plugin(**config: object) -> MergeTags:
    return MergeTags(MergeTags.Config.model_validate(config), RecordingMta())


def taken(variables: object, *recipients: str, **fields: str) -> tuple[Envelope, Message]:
    """What on_data makes of a message with these variables."""
    field = variables if isinstance(variables, str) else json.dumps(variables)
    answer = plugin().on_data(envelope(recipients or [JOE]), message(fields={"X-Merge-Vars": field, **fields}))
    assert isinstance(answer, tuple)
    return answer


def refusal(field: str) -> Reject:
    answer = plugin().on_data(envelope([JOE]), message(fields={"X-Merge-Vars": field}))
    assert isinstance(answer, Reject)
    return answer


def merged(original: Message, values: dict[str, str], **config: object) -> Message:
    answer = plugin(**config).before_sign(delivery(recipient(JOE, merge_vars=values), message=original))
    assert not isinstance(answer, Reject)
    return original if answer is None else answer.message


def read(copy: Message) -> EmailMessage:
    parsed = email.message_from_bytes(copy.raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def merged_html(markup: str, values: dict[str, str]) -> str:
    fields: dict[str, str | None] = {"MIME-Version": "1.0", "Content-Type": "text/html; charset=utf-8"}
    copy = merged(message(fields=fields | {"Content-Transfer-Encoding": "8bit"}, body=markup), values)
    text = parts(copy)[0].text
    assert text is not None
    return text


def merged_field(name: str, value: str, values: dict[str, str]) -> Message:
    return merged(message(fields={name: value}), values)


# The variables


def test_the_shipped_file_and_the_docs_show_every_key_with_its_default() -> None:
    shipped = (ROOT / "conf" / "merge_tags.toml").read_text()
    shown = tomllib.loads(re.sub(r"(?m)^#(?! )", "", shipped))
    assert MergeTags.Config.model_validate(shown | {"account": {}}) == MergeTags.Config()
    assert set(shown) == set(MergeTags.Config.model_fields)
    page = (ROOT / "docs" / "plugins" / "merge_tags.md").read_text()
    assert f"<!-- generated: merge_tags -->\n{settings_table(MergeTags.Config)}\n<!-- end -->" in page


def test_a_message_without_the_field_passes_untouched() -> None:
    assert plugin().on_data(envelope([JOE]), message()) is None
    assert plugin().before_sign(delivery(JOE)) is None


def test_each_recipient_gets_its_own_variables_and_the_field_goes() -> None:
    taken_envelope, taken_message = taken(
        {JOE: {"NAME": "Joe"}, EVE: {"NAME": "Eve", "YEAR": 1}, "*": {"YEAR": 2026}, "global": {"X": True}}, JOE, EVE
    )
    assert [dict(r.merge_vars) for r in taken_envelope.recipients] == [
        {"YEAR": "2026", "X": "true", "NAME": "Joe"},
        {"YEAR": "1", "X": "true", "NAME": "Eve"},
    ]
    assert taken_message.first("X-Merge-Vars") is None
    assert b"joe@" not in taken_message.header.lower()


def test_numbers_stay_as_they_were_written() -> None:
    found, _ = taken('{"*": {"A": 1.50, "B": -3, "C": 12345678901234567890123, "D": 1e3, "E": false}}')
    assert dict(found.recipients[0].merge_vars) == {
        "A": "1.50",
        "B": "-3",
        "C": "12345678901234567890123",
        "D": "1e3",
        "E": "false",
    }


@pytest.mark.parametrize(
    ("key", "mailbox", "fits"),
    [
        ("Joe@Example.NET", "Joe@example.net", True),
        ("JOE@example.net", "joe@example.net", True),
        ("joe@example.net.", "joe@example.net", True),
        ("joe@example.com", "joe@example.net", False),
        ("joe+x@example.net", "joe@example.net", False),
    ],
)
def test_keys_and_recipients_compare_as_mailboxes_do(key: str, mailbox: str, fits: bool) -> None:
    found, _ = taken({key: {"NAME": "x"}}, mailbox)
    assert ("NAME" in found.recipients[0].merge_vars) is fits


def test_a_key_that_is_another_recipients_exactly_is_nobody_elses() -> None:
    found, _ = taken({"Joe@example.net": {"NAME": "Joe"}}, "joe@example.net", "Joe@example.net")
    assert [dict(r.merge_vars) for r in found.recipients] == [{}, {"NAME": "Joe"}]


def test_of_keys_that_differ_only_in_case_none_is_guessed() -> None:
    found, _ = taken({"Joe@example.net": {"NAME": "1"}, "JOE@example.net": {"NAME": "2"}}, "joe@example.net")
    assert dict(found.recipients[0].merge_vars) == {}


def test_variables_that_a_recipient_has_already_stay() -> None:
    field = json.dumps({"*": {"A": "all", "B": "all"}, JOE: {"C": "own"}})
    joe = recipient(JOE, merge_vars={"B": "before", "C": "before"})
    answer = plugin().on_data(envelope([joe]), message(fields={"X-Merge-Vars": field}))
    assert isinstance(answer, tuple)
    assert dict(answer[0].recipients[0].merge_vars) == {"A": "all", "B": "before", "C": "own"}


def test_long_json_that_a_library_folded_and_encoded_is_read() -> None:
    variables = {JOE: {f"NAME{n}": f"Jörg {n} " + "x" * n for n in range(120)}}
    mail = EmailMessage(policy=email.policy.SMTP)
    mail["X-Merge-Vars"] = json.dumps(variables, ensure_ascii=False)
    mail.set_content("hello")
    answer = plugin().on_data(envelope([JOE]), Message.parse(mail.as_bytes()))
    assert isinstance(answer, tuple)
    assert dict(answer[0].recipients[0].merge_vars) == variables[JOE]


def test_json_folded_inside_a_text_is_read() -> None:
    raw = b'X-Merge-Vars: {"*":\r\n {"NAME": "Joe\r\n\tSmith"}}\r\n\r\nhello\r\n'
    answer = plugin().on_data(envelope([JOE]), message(raw))
    assert isinstance(answer, tuple)
    assert answer[0].recipients[0].merge_vars["NAME"] == "Joe\tSmith"


@pytest.mark.parametrize(
    "field",
    [
        "",
        "{",
        "[]",
        "secret",
        '{"secret": {"A": "b"}}',
        '{"*": "secret"}',
        '{"*": {"A": null}}',
        '{"*": {"A": ["secret"]}}',
        '{"*": {"A": {"B": "secret"}}}',
        '{"*": {"A": NaN}}',
        '{"*": {"A-B": "secret"}}',
        '{"*": {"1": "secret"}}',
        '{"*": {"A": "secret\\ud800"}}',
        "[" * 100_000,
        '{"*": {"A": "\udcff"}}',
    ],
)
def test_a_broken_field_is_refused_with_advice_that_quotes_nothing(field: str) -> None:
    reply = refusal(field).reply
    assert (reply.code, reply.status) == (554, "5.6.0")
    assert "secret" not in reply.line
    assert len(reply.line) < 200
    assert reply.line.isascii()


def test_the_field_may_stand_only_once() -> None:
    raw = b'X-Merge-Vars: {"*": {"A": "b"}}\r\nx-merge-vars: {}\r\n\r\n'
    assert isinstance(plugin().on_data(envelope([JOE]), message(raw)), Reject)


def test_the_name_of_the_field_can_be_chosen() -> None:
    original = message(fields={"X-Data": '{"*": {"A": "b"}}'})
    answer = plugin(field="x-data").on_data(envelope([JOE]), original)
    assert isinstance(answer, tuple)
    assert answer[1].first("X-Data") is None


# Text


def test_only_defined_names_are_replaced_and_nothing_twice() -> None:
    body = "[NAME] [name] [sic] [1] [NAME [OTHER] [_A] http://[::1]/ [[NAME]] a[NAME]b\n"
    copy = merged(message(body=body), {"NAME": "[OTHER]", "OTHER": "[NAME]", "UNUSED": "x"})
    assert copy.body == (b"[OTHER] [name] [sic] [1] [NAME [NAME] [_A] http://[::1]/ [[OTHER]] a[OTHER]b\r\n")


def test_without_a_tag_that_is_defined_it_is_the_same_message() -> None:
    original = message(body="[sic] [NAME]\n", fields={"Subject": "[Team] news"})
    assert merged(original, {"OTHER": "x"}) is original


def test_equal_variables_make_equal_octets_and_share_them() -> None:
    original = message(body="[NAME]\n")
    joe, eve = (delivery(recipient(who, merge_vars={"NAME": "x"}), message=original) for who in (JOE, EVE))
    first, second = (plugin().before_sign(each) for each in (joe, eve))
    assert isinstance(first, Delivery)
    assert isinstance(second, Delivery)
    assert first.message is second.message


def test_values_lose_control_characters_and_their_lines_end_in_cr_lf() -> None:
    copy = merged(message(body="a [NAME]\n"), {"NAME": "x\0y\x1b[0m\nz\rq\ttab"})
    assert copy.body == b"a xy[0m\r\nz\r\nq\ttab\r\n"


def test_a_copy_that_grows_too_large_is_refused() -> None:
    joe = recipient(JOE, merge_vars={"A": "x" * 1000})
    answer = plugin(max_size="1 MB").before_sign(delivery(joe, message=message(body="[A]" * 100_000)))
    assert isinstance(answer, Reject)
    assert (answer.code, answer.status) == (552, "5.3.4")


def test_only_text_that_people_read_is_filled() -> None:
    mail = EmailMessage(policy=email.policy.SMTP)
    mail.set_content("plain [NAME]\n", cte="base64")
    mail.add_alternative("<p>html [NAME]</p>\n", subtype="html", charset="iso-8859-1", cte="quoted-printable")
    mail.add_attachment("attached [NAME]\n", filename="a.txt")
    mail.add_attachment("BEGIN [NAME]\n", subtype="calendar", disposition="inline")
    mail.add_attachment(EmailMessage(policy=email.policy.SMTP))
    original = Message.parse(mail.as_bytes())
    copy = merged(original, {"NAME": "Jörg & €"})
    texts = [p.get_content().replace("\r\n", "\n") for p in read(copy).walk() if p.get_content_maintype() == "text"]
    assert texts[:4] == [
        "plain Jörg & €\n",
        "<p>html Jörg &amp; €</p>\n",
        "attached Jörg & €\n",
        "BEGIN [NAME]\n",
    ]
    kinds = [(p.get_content_charset(), p["Content-Transfer-Encoding"]) for p in read(copy).walk()][2:4]
    assert kinds == [("utf-8", "base64"), ("utf-8", "quoted-printable")]
    after = b"BEGIN [NAME]"
    assert copy.body.partition(after)[2] == original.body.partition(after)[2]


def test_latin_1_stays_latin_1() -> None:
    raw = b"Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSch\xf6n, [NAME]\r\n"
    assert merged(message(raw), {"NAME": "Zoë"}).raw == raw.replace(b"[NAME]", b"Zo\xeb")


def test_signed_parts_stay() -> None:
    body = "--S\nContent-Type: text/plain\n\n[NAME]\n--S\nContent-Type: application/pkcs7-signature\n\nx\n--S--\n"
    original = message(fields={"Content-Type": "multipart/signed; boundary=S"}, body=body)
    assert merged(original, {"NAME": "x"}) is original


@pytest.mark.parametrize("encoding", ["7bit", "quoted-printable", "base64"])
def test_a_value_brings_no_part(encoding: str) -> None:
    mail = EmailMessage(policy=email.policy.SMTP)
    mail.set_content("[NAME]\n", cte=encoding)
    mail.add_alternative("<p>x</p>", subtype="html")
    mail.set_boundary("BOUNDARY")
    value = "x\r\n--BOUNDARY\r\nContent-Type: text/html\r\n\r\n<b>evil</b>\r\n--BOUNDARY--\r\n"
    copy = merged(Message.parse(mail.as_bytes()), {"NAME": value})
    assert [part.get_content_type() for part in read(copy).iter_parts()] == ["text/plain", "text/html"]


# HTML


@pytest.mark.parametrize(
    ("markup", "value", "expected"),
    [
        ("<p>[A]</p>", '<b>"it\'s" & co', "<p>&lt;b&gt;&quot;it&#x27;s&quot; &amp; co</p>"),
        ('<p title="[A]">', '" onload="x', '<p title="&quot; onload=&quot;x">'),
        ("<p title='[A]'>", "' onload='x", "<p title='&#x27; onload=&#x27;x'>"),
        ("<p title=[A]>", "x onload=y>", "<p title=x&#32;onload&#61;y&#62;>"),
        ("<img src=[A] alt=[A]>", "", "<img src=&#32; alt=&#32;>"),
        ('<a href="[A]">', "https://x.example/?a=1&b=2 3", '<a href="https://x.example/?a=1&amp;b=2%203">'),
        ('<a href=" [A]">', 'https://x.example/"', '<a href=" https://x.example/%22">'),
        ("<a href=[A]>", "/a b", "<a href=&#47;a&#37;20b>"),
        ('<a href="https://x.example/[A]">', "a/b?c&d é", '<a href="https://x.example/a%2Fb%3Fc%26d%20%C3%A9">'),
        ("<a href=https://x.example/?q=[A]>", "a b>", "<a href=https://x.example/?q=a%20b%3E>"),
        ('<a HREF="mailto:[A]?subject=x">', "joe@x.example", '<a HREF="mailto:joe@x.example?subject=x">'),
        ('<a href="[A]">', "java\nscript:alert(1)", '<a href="javascript%3Aalert%281%29">'),
        ('<a href="[A][A]">', "x:", '<a href="x:x%3A">'),
        ('<img src="x" alt="[A]">', "a&b", '<img src="x" alt="a&amp;b">'),
        ("<![A]> <[A]> </[A]> <a[A]> <a [A]>", "x", "<![A]> <[A]> </[A]> <a[A]> <a [A]>"),
        ("<a onclick=\"f('[A]')\">[A]", "x", "<a onclick=\"f('[A]')\">x"),
        ("<script>[A]</SCRIPT>[A]", "x", "<script>[A]</SCRIPT>x"),
        ("<style>a[A] {color: [A]}</style>[A]", "#f00;}<", "<style>a#f00 {color: #f00}</style>#f00;}&lt;"),
        ('<p style="color:[A]">', 'red;x:"', '<p style="color:redx:">'),
        ("<style>p{</[A]>}</style>[A]", "style", "<style>p{</[A]>}</style>style"),
        ('<!-- <a href=" --><p>[A]</p>', "&", '<!-- <a href=" --><p>&amp;</p>'),
        ('<!--[if mso]><a href="x?[A]"><![endif]-->', "&", '<!--[if mso]><a href="x?%26"><![endif]-->'),
        ("a < b [A] > c", "&", "a < b &amp; > c"),
        ('<a href="x?[A]', "&", '<a href="x?%26'),
    ],
)
def test_each_place_in_html_has_its_own_writing(markup: str, value: str, expected: str) -> None:
    assert merged_html(markup, {"A": value}).strip() == expected


class Shape(HTMLParser):
    """The elements and attribute names of a page, without texts and values."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.shape: list[object] = []
        self.values: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, [name for name, _ in attrs]))
        self.values += [value or "" for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.shape.append(tag)

    def handle_data(self, data: str) -> None:
        self.values.append(data)


PAGE = """<html><body><p title="[A]" class=[A] lang='[A]'>x[A]y</p><a href="https://h.example/[A]?[A]#[A]">l</a>
<a href='[A]'>m</a><img src=[A] alt="[A]"><td width=[A]>[A]</td><style>p{color:[A]}</style></body></html>"""


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
    | st.sampled_from(["<script>", '"><b>', "' x='", "x y=z", "-->", "</style><b>", "]]>", "&lt;b&gt;", "`", "="])
)
def test_no_value_changes_the_shape_of_a_page(value: str) -> None:
    filled = merged_html(PAGE, {"A": value})
    assert Shape(filled).shape == Shape(PAGE.replace("[A]", "x")).shape
    if value.isprintable():
        assert f"x{html.unescape(value)}y" in Shape(html.unescape(filled)).values or f"x{html.escape(value)}y" in filled
        assert value in unquote(Shape(filled).values[4])


@pytest.mark.parametrize("piece", ['<a href="[A]', "<!--", "<a [A]", "<script>[A]", "[A]", "<", "<a b='", "<style>"])
def test_hostile_html_takes_linear_time(piece: str) -> None:
    def took(count: int) -> float:
        original = message(fields={"Content-Type": "text/html"}, body=piece * count)
        began = time.process_time()
        merged(original, {"A": "x"})
        return time.process_time() - began

    took(100)
    assert min(took(40_000) for _ in range(3)) < 60 * max(min(took(4_000) for _ in range(3)), 0.001)


# Header fields


@pytest.mark.parametrize(
    ("name", "value", "variable", "expected"),
    [
        ("Subject", "Hi [A]", "Joe", "Subject: Hi Joe"),
        ("Subject", "Hi [A]", "Jörg", "Subject: Hi =?utf-8?b?SsO2cmc=?="),
        ("Subject", "=?iso-8859-1?Q?Gr=FC=DFe,_=5BA=5D?=", "Zoë", "Subject: =?utf-8?b?R3LDvMOfZSwgWm/Dqw==?="),
        ("Subject", "Hi [A]", "x\r\nBcc: eve@example.org", "Subject: Hi x Bcc: eve@example.org"),
        ("Subject", "Hi [A]", "=?utf-8?q?=0D=0A?=", "Subject: Hi =?utf-8?b?PT91dGYtOD9xPz0wRD0wQT89?="),
        ("To", "[A] <joe@example.net>", "Joe Smith", "To: Joe Smith <joe@example.net>"),
        ("To", "[A] <joe@example.net>", "Smith, Joe", 'To: "Smith, Joe" <joe@example.net>'),
        (
            "To",
            '"Dr. [A]" <joe@example.net>',
            'x" <eve@example.org>, "',
            r'To: "Dr. x\" <eve@example.org>, \"" <joe@example.net>',
        ),
        (
            "To",
            "=?utf-8?q?Fr=C3=A4ulein_[A]?= <joe@example.net>",
            "X",
            "To: =?utf-8?b?RnLDpHVsZWluIFg=?= <joe@example.net>",
        ),
        ("To", "[A]", "joe@example.net, <eve@example.org>", "To: joe@example.neteve@example.org"),
        ("To", "x <[A]@example.net>, b@example.org", "joe", "To: x <joe@example.net>, b@example.org"),
        (
            "Reply-To",
            "a@example.com, [A] Team <b@example.com>",
            "Our",
            "Reply-To: a@example.com, Our Team <b@example.com>",
        ),
        ("From", "[A] (c [A]) <a@example.com>", "X", "From: X (c [A]) <a@example.com>"),
        (
            "List-Unsubscribe",
            "<https://x.example/u?[A]>, <mailto:u@x.example?subject=[A]>",
            "a b>&",
            "List-Unsubscribe: <https://x.example/u?a%20b%3E%26>,\r\n <mailto:u@x.example?subject=a%20b%3E%26>",
        ),
        (
            "List-Unsubscribe",
            "<[A]>",
            "https://x.example/?a=b>,<y",
            "List-Unsubscribe: <https://x.example/?a=b%3E,%3Cy>",
        ),
        ("List-ID", "[A] news <n.example.com>", "Ö", "List-ID: =?utf-8?b?w5YgbmV3cw==?= <n.example.com>"),
        ("X-Campaign", "[A]/[B]", "é", "X-Campaign: =?utf-8?b?w6kvW0Jd?="),
    ],
)
def test_each_place_in_a_header_has_its_own_writing(name: str, value: str, variable: str, expected: str) -> None:
    copy = merged_field(name, value, {"A": variable})
    assert [f.raw.decode() for f in copy.all(name)] == [expected + "\r\n"]
    assert len(copy.fields) == len(merged_field(name, value, {}).fields)


@pytest.mark.parametrize("name", ["Message-ID", "References", "Received", "DKIM-Signature", "Content-Type", "ARC-Seal"])
def test_fields_that_machines_read_stay(name: str) -> None:
    original = message(fields={name: "<[A]@example.com>"})
    assert merged(original, {"A": "x"}) is original


def test_fields_without_a_tag_keep_every_octet() -> None:
    raw = b"Subject:[A]\r\nX-Odd :  =?utf-8?q?=C3=A9?=\r\n\tz  \r\nTo: x\xff <a@example.net>\r\n\r\n"
    assert merged(message(raw), {"A": "x"}).raw == raw.replace(b"Subject:[A]", b"Subject: x")


NASTY = st.text(max_size=60) | st.sampled_from(
    [
        "\r\nBcc: e@example.org",
        "a\n b",
        "\r",
        "\n.\n",
        "\0",
        'a", <e@example.org>, "b',
        "\\",
        '\\"',
        "(",
        ",",
        ";",
        ":",
        "\u2028x",
        "=?utf-8?q?=0AX:y?=",
        "x" * 2000,
        " ",
        "",
        "<e@example.org>",
        "ü" * 300,
    ]
)


@settings(deadline=None, max_examples=200)
@given(NASTY)
def test_no_value_brings_a_field_or_an_address(value: str) -> None:
    fields: dict[str, str | None] = {
        "Subject": "a [A] b",
        "From": '"Shop [A]" <shop@example.com>',
        "To": "[A] <joe@example.net>, =?utf-8?q?x_=5BA=5D?= <eve@example.org>",
        "List-Unsubscribe": "<https://x.example/[A]>, <[A]>",
        "X-Other": "[A]",
    }
    original = message(fields=fields)
    copy = merged(original, {"A": value})
    again = Message.parse(copy.raw)
    assert [f.name for f in again.fields] == [f.name for f in original.fields]
    assert copy.header.isascii()
    assert again.body == original.body
    assert all(len(line) <= 998 for f in copy.fields for line in f.raw.split(b"\r\n") if f.name != "List-Unsubscribe")
    parsed: Any = read(copy)
    assert [m.addr_spec for m in parsed["From"].addresses] == ["shop@example.com"]
    assert [m.addr_spec for m in parsed["To"].addresses] == [JOE, EVE]
    if value.isprintable() and value.strip() and "=?" not in value:
        assert value.strip() in parsed["Subject"].replace("a  b", "")
        assert all(isinstance(m, Mailbox) for m in parsed["To"].addresses)


# Apart


@settings(deadline=None)
@given(st.data())
def test_nothing_of_one_recipient_is_in_the_copy_of_another(data: st.DataObject) -> None:
    addresses = [f"canary{n}q@example.{'net' if n % 2 else 'org'}" for n in range(4)]
    names = ["A", "B", "C"]
    variables = {
        who: {name: f"secret-{n}-{name}-q" for name in data.draw(st.lists(st.sampled_from(names), unique=True))}
        for n, who in enumerate(addresses)
    }
    chosen = data.draw(st.lists(st.sampled_from(addresses), min_size=1, unique=True))
    mail, original = taken(variables, *chosen, Subject="[A] [B]", To="[C] <list@example.com>")
    original = original.with_body(b"[A] [B] [C]\r\n")
    subject = plugin()
    for each in mail.recipients:
        answer = subject.before_sign(delivery(each, envelope=mail, message=original))
        assert not isinstance(answer, Reject)
        octets = (answer.message if answer else original).raw.decode()
        own = addresses.index(each.address.mailbox)
        assert not [n for n in range(4) if n != own and (f"secret-{n}-" in octets or f"canary{n}q" in octets)]
        assert all(value in octets for value in variables[each.address.mailbox].values())


def test_a_thousand_copies_are_made_in_little_time() -> None:
    mail = EmailMessage(policy=email.policy.SMTP)
    mail["Subject"] = "Hello [NAME]"
    mail.set_content("Dear [NAME],\n" + "some text of a line\n" * 200)
    mail.add_alternative("<p>Dear [NAME]</p>" + '<a href="https://x.example/[ID]">link</a>\n' * 200, subtype="html")
    original = Message.parse(mail.as_bytes())
    subject = plugin()
    began = time.process_time()
    for n in range(1000):
        subject.before_sign(delivery(recipient(JOE, merge_vars={"NAME": f"N{n}", "ID": str(n)}), message=original))
    assert time.process_time() - began < 5
