import email
import email.policy
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtaframe.message import Message, has_bare_line_end
from mtaframe.mime import MAX_DEPTH, MAX_PARTS, Part, has_long_line, parts, seven_bit, with_texts

NESTED = b"""From: a@example.com\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="outer"\r
\r
preamble\r
--outer\r
Content-Type: multipart/alternative;\r
\tboundary=inner\r
\r
--inner\r
\r
plain\r
--inner \t\r
Content-Type: text/html; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
<p>J=F6rg</p>\r
--inner--\r
epilogue of the inner\r
--outer\r
Content-Type: message/rfc822\r
\r
Content-Type: multipart/mixed; boundary=hidden\r
\r
--hidden\r
\r
x\r
--hidden--\r
--outer\r
Content-Type: application/pdf; name="r.pdf"\r
Content-Disposition: attachment; filename*=utf-8''%E2%82%AC.pdf\r
Content-Transfer-Encoding: base64\r
\r
JVBERg==\r
--outer--\r
epilogue\r
"""


def leaves(message: Message) -> list[Part]:
    return [part for part in parts(message) if not part.is_multipart]


def stdlib_leaves(raw: bytes) -> list[EmailMessage]:
    root = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(root, EmailMessage)
    found: list[EmailMessage] = []

    def walk(part: EmailMessage) -> None:
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            for child in part.get_payload():
                walk(child)  # type: ignore[arg-type]
        else:
            found.append(part)

    walk(root)
    return found


def stdlib_text(part: EmailMessage) -> str:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.decode(part.get_content_charset("us-ascii"))


def one(content: bytes, *fields: bytes) -> Message:
    return Message.parse(b"".join(field + b"\r\n" for field in (b"From: a@example.com", *fields)) + b"\r\n" + content)


def mixed(*sections: bytes) -> Message:
    body = b"".join(b"--B\r\n" + section + b"\r\n" for section in sections)
    return one(body + b"--B--\r\n", b"MIME-Version: 1.0", b"Content-Type: multipart/mixed; boundary=B")


# Finding


def test_nested_parts_are_found_where_they_are() -> None:
    found = parts(Message.parse(NESTED))
    assert [part.content_type for part in found] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "message/rfc822",
        "application/pdf",
    ]
    assert [part.content for part in found[2:4]] == [b"plain", b"<p>J=F6rg</p>"]
    assert found[1].content.endswith(b"epilogue of the inner")
    assert found[3].text == "<p>Jörg</p>"
    assert found[3].charset == "iso-8859-1"
    assert found[4].text is None
    assert (found[5].disposition, found[5].filename, found[5].octets) == ("attachment", "€.pdf", b"%PDF")
    assert found[3].enclosing == (b"outer", b"inner")


def test_parts_are_found_once_per_message() -> None:
    message = Message.parse(NESTED)
    assert parts(message) is parts(message)


@pytest.mark.parametrize(
    ("body", "contents"),
    [
        (b"--B\r\n\r\none\r\n--B\r\n\r\ntwo", [b"one", b"two"]),
        (b"--B\r\n\r\none\r\n--B--", [b"one"]),
        (b"--B\r\n\r\n--B\r\n--B--\r\n", [b"", b""]),
        (b"--B\r\nX: y\r\n--B--\r\n", [b""]),
        (b"--B\r\nno field\r\n--B--\r\n", [b"no field"]),
        (b"x\r\n--B\r\n\r\n--Bx\r\n--B-- \r\n--B\r\n", [b"--Bx"]),
        (b"--B", [b""]),
        (b"nothing at all\r\n", []),
        (b"", []),
    ],
)
def test_delimiters(body: bytes, contents: list[bytes]) -> None:
    message = one(body, b"Content-Type: multipart/mixed; boundary=B")
    assert [part.content for part in parts(message)[1:]] == contents


def test_a_boundary_that_looks_like_a_field_ends_the_header_section() -> None:
    message = one(b"--a:b\r\nX: y\r\n--a:b--\r\n", b'Content-Type: multipart/mixed; boundary="a:b"')
    assert [(part.section.header, part.content) for part in leaves(message)] == [(b"X: y\r\n", b"")]


def test_a_missing_closing_boundary_inside_ends_with_the_outer_part() -> None:
    message = mixed(
        b"Content-Type: multipart/mixed; boundary=I\r\n\r\n--I\r\n\r\none", b"Content-Type: text/plain\r\n\r\ntwo"
    )
    assert [part.content for part in leaves(message)] == [b"one", b"two"]


def test_what_a_digest_holds_is_mail() -> None:
    message = one(b"--B\r\n\r\nSubject: x\r\n\r\n--B--", b"Content-Type: multipart/digest; boundary=B")
    assert [part.content_type for part in leaves(message)] == ["message/rfc822"]


@pytest.mark.parametrize("kind", [b"signed", b"encrypted"])
def test_signed_and_encrypted_parts_are_sealed(kind: bytes) -> None:
    inner = b"Content-Type: multipart/%s; boundary=I\r\n\r\n--I\r\n\r\none\r\n--I--" % kind
    message = mixed(inner, b"\r\ntwo")
    assert [(part.content, part.is_sealed) for part in leaves(message)] == [(b"one", True), (b"two", False)]
    with pytest.raises(ValueError, match="signed"):
        with_texts(message, {leaves(message)[0]: "changed"})


@pytest.mark.parametrize(
    ("fields", "content", "text"),
    [
        ((), b"caf\xc3\xa9", "café"),
        ((), b"caf\xe9", "caf\udce9"),
        ((b"Content-Type: text/plain; charset=iso-8859-1",), b"caf\xe9", "café"),
        ((b"Content-Type: text/plain; charset=x-nowhere",), b"x", None),
        ((b"Content-Type: text/plain; charset=punycode",), b"x", None),
        ((b"Content-Type: text/plain; charset=base64",), b"x", None),
        ((b"Content-Type: image/png",), b"x", None),
        ((b"Content-Transfer-Encoding: x-uuencode",), b"x", None),
        ((b"Content-Transfer-Encoding: base64",), b"YQ", "a"),
        ((b"Content-Transfer-Encoding: base64",), b"Y", None),
        ((b"Content-Transfer-Encoding: BASE64",), b"YWJj\r\nZA==\r\n", "abcd"),
        (
            (b"Content-Transfer-Encoding: quoted-printable", b"Content-Type: text/html; charset=utf-8"),
            b"=C3=\r\n=A9",
            "é",
        ),
    ],
)
def test_text(fields: tuple[bytes, ...], content: bytes, text: str | None) -> None:
    assert parts(one(content, *fields))[0].text == text


def test_depth_and_number_are_bounded() -> None:
    deep = b"".join(b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n, n + 1) for n in range(100))
    found = parts(one(deep, b"Content-Type: multipart/mixed; boundary=0"))
    assert max(len(part.enclosing) for part in found) == MAX_DEPTH
    many = parts(one(b"--B\r\n\r\nx\r\n" * (MAX_PARTS + 9), b"Content-Type: multipart/mixed; boundary=B"))
    assert len(many) == MAX_PARTS
    assert {part.content for part in many[1:]} == {b"x"}


def nested_boundaries(size: int) -> Message:
    lines = (
        b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n--x\r\n--%d--\r\n" % (n, n + 1, n // 2)
        for n in range(size)
    )
    return one(b"".join(lines), b"Content-Type: multipart/mixed; boundary=0")


HOSTILE: dict[str, Callable[[int], Message]] = {
    "parts": lambda n: mixed(*[b"X: y\r\n\r\nx"] * n),
    "nested": nested_boundaries,
    "hyphens": lambda n: one(b"--\r\n" * n * 20, b"Content-Type: multipart/mixed; boundary=B"),
    "one long line": lambda n: mixed(b"--" * n * 50),
    "parameters": lambda n: one(b"x", b"Content-Type: text/plain" + b"; charset=x" * n * 10),
    "open quotes": lambda n: one(b"x", b"Content-Type: text/plain" + b'; a="\\' * n * 10),
    "encoded words": lambda n: one(b"x", b'Content-Disposition: x; filename="' + b"=?a?q?" * n * 10),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_linear_in_size(name: str) -> None:
    def took(size: int) -> float:
        best = 9.0
        for _ in range(3):
            message = HOSTILE[name](size)
            began = time.process_time()
            for part in parts(message):
                _ = (part.text, part.filename)
            best = min(best, time.process_time() - began)
        return best

    assert took(4000) < 40 * max(took(400), 0.0005)


# Changing


def test_only_what_is_changed_changes() -> None:
    message = Message.parse(NESTED)
    html = parts(message)[3]
    assert html.text is not None
    changed = with_texts(message, {html: html.text.replace("Jörg", "Zoë")})
    assert changed.raw == NESTED.replace(b"J=F6rg", b"Zo=EB")


def test_a_text_can_be_put_behind_a_delimiter_with_which_the_body_ends() -> None:
    message = one(b"--B", b"Content-Type: multipart/mixed; boundary=B")
    changed = with_texts(message, {parts(message)[1]: "a: é"})
    assert [(part.content_type, part.text) for part in parts(changed)[1:]] == [("text/plain", "a: é")]


def test_a_text_that_outgrows_its_charset_becomes_utf_8_and_says_so() -> None:
    message = Message.parse(NESTED)
    changed = with_texts(message, {parts(message)[3]: "<p>€</p>"})
    expected = NESTED.replace(b"iso-8859-1", b"utf-8").replace(b"J=F6rg", b"=E2=82=AC")
    assert changed.raw == expected


def test_7bit_text_that_becomes_8bit_is_quoted() -> None:
    message = Message.parse(NESTED)
    changed = with_texts(message, {parts(message)[2]: "é"})
    section = (
        b"--inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    assert changed.raw == NESTED.replace(b"--inner\r\n\r\nplain", section + b"=C3=A9", 1)


@pytest.mark.parametrize("fields", [(), (b"Content-Type: text/plain",), (b"Content-Type: rubbish; charset=us-ascii",)])
def test_a_message_that_was_not_mime_becomes_it(fields: tuple[bytes, ...]) -> None:
    message = one(b"hello\r\n", *fields)
    changed = with_texts(message, {parts(message)[0]: "h\u00e9llo\r\n"})
    assert stdlib_text(stdlib_leaves(changed.raw)[0]) == "héllo\r\n"
    assert changed.first("MIME-Version") == "1.0"
    assert changed.first("Content-Type") == "text/plain; charset=utf-8"


def test_7bit_text_that_stays_so_gets_no_new_field() -> None:
    message = one(b"hello\r\n")
    assert with_texts(message, {parts(message)[0]: "bye\n"}).raw == b"From: a@example.com\r\n\r\nbye\r\n"


@pytest.mark.parametrize("encoding", [b"7bit", b"8bit", b"base64", b"quoted-printable"])
@pytest.mark.parametrize("text", ["x" * 3000, "é" * 3000, "a\r\n.\r\n..\r\n \t\r\nb ", "\0", "", "\r\n", "a\rb\nc"])
def test_any_text_arrives(encoding: bytes, text: str) -> None:
    message = mixed(b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n", b"\r\ntwo")
    changed = with_texts(message, {leaves(message)[0]: text})
    assert not has_long_line(changed.body)
    first, second = stdlib_leaves(changed.raw)
    canonical = "\r\n".join(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    assert (stdlib_text(first), stdlib_text(second)) == (canonical, "two")
    assert encoding != b"base64" or b": base64" in changed.body


@pytest.mark.parametrize("encoding", [b"7bit", b"8bit", b"base64", b"quoted-printable"])
@pytest.mark.parametrize("at", ["", "\r\n", "\n", "\r", "x" * 75, "é\n"])
def test_a_text_can_not_bring_parts_of_its_own(encoding: bytes, at: str) -> None:
    message = mixed(b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\nx", b"\r\ntwo")
    changed = with_texts(message, {leaves(message)[0]: f"{at}--B\r\nContent-Type: text/html\r\n\r\n<b>\r\n--B--\r\n"})
    assert [part.get_content_type() for part in stdlib_leaves(changed.raw)] == ["text/plain"] * 2
    assert len(leaves(changed)) == 2
    assert "--B--" in (leaves(changed)[0].text or "")


def test_parts_of_another_message_are_refused() -> None:
    message = one(b"hello\r\n")
    with pytest.raises(ValueError, match="not of this message"):
        with_texts(one(b"other\r\n"), {parts(message)[0]: "x"})


TEXT = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=150)
CHARSETS = {"us-ascii": 128, "iso-8859-1": 256, "utf-8": 0xD800, "utf-16": 0xD800}


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> MIMEMultipart | MIMEText:
    if depth < 3 and draw(st.integers(0, 2)):
        subtype = draw(st.sampled_from(["mixed", "alternative", "related"]))
        tree = MIMEMultipart(subtype, preamble=None)
        for child in draw(st.lists(trees(depth + 1), min_size=1, max_size=3)):
            tree.attach(child)
        return tree
    charset, limit = draw(st.sampled_from(sorted(CHARSETS.items())))
    alphabet = st.characters(max_codepoint=limit - 1, exclude_characters="\r", exclude_categories=["Cs"])
    return MIMEText(draw(st.text(alphabet, max_size=80)), draw(st.sampled_from(["plain", "html"])), charset)


@settings(deadline=None, max_examples=150)
@given(tree=trees(), data=st.data())
def test_changed_parts_read_as_told_and_others_keep_every_octet(
    tree: MIMEMultipart | MIMEText, data: st.DataObject
) -> None:
    message = Message.parse(tree.as_bytes(policy=email.policy.SMTP))
    found = leaves(message)
    oracle = stdlib_leaves(message.raw)
    assert [part.content_type for part in found] == [part.get_content_type() for part in oracle]
    assert [part.text for part in found] == [stdlib_text(part) for part in oracle]
    texts = {part: data.draw(TEXT) for part in found if data.draw(st.booleans())}
    changed = with_texts(message, texts)
    for old, new, read in zip(found, leaves(changed), stdlib_leaves(changed.raw), strict=True):
        if old in texts:
            assert stdlib_text(read) == texts[old].replace("\n", "\r\n")
            assert new.text == stdlib_text(read)
        else:
            assert (old.section.header, old.content) == (new.section.header, new.content)


# Seven bits


@pytest.mark.parametrize("length", [997, 998, 999, 1000, 5000])
@pytest.mark.parametrize("before", [b"", b"x\r\n", b"x" * 998 + b"\r\n"])
@pytest.mark.parametrize("after", [b"", b"\r\n", b"\r\ny\r\n", b"\r\n" + b"y" * 997 + b"\r\n"])
def test_long_lines_are_seen(length: int, before: bytes, after: bytes) -> None:
    octets = before + b"z" * length + after
    assert has_long_line(octets) == any(len(line) > 998 for line in octets.split(b"\r\n"))


def test_mail_that_every_next_hop_takes_is_the_same_object() -> None:
    message = Message.parse(NESTED)
    assert seven_bit(message) is message


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: v=1",
        b"ARC-Seal: i=1",
        b"Content-Type: multipart/signed; boundary=B",
        b"Content-Type: multipart/encrypted; boundary=B",
    ],
)
def test_signed_mail_is_never_changed(field: bytes) -> None:
    message = one(b"--B\r\n\r\ncaf\xc3\xa9\r\n--B--\r\n", field)
    assert seven_bit(message) is message


@pytest.mark.parametrize(
    ("content", "charset"), [(b"caf\xc3\xa9\r\n", "utf-8"), (b"caf\xe9\r\n", "unknown-8bit"), (b"x" * 999, "us-ascii")]
)
def test_8bit_mail_without_mime_gets_it(content: bytes, charset: str) -> None:
    changed = seven_bit(one(content))
    assert changed.first("MIME-Version") == "1.0"
    assert changed.first("Content-Type") == f"text/plain; charset={charset}"
    assert stdlib_leaves(changed.raw)[0].get_payload(decode=True) == content


def test_8bit_parts_are_encoded_and_their_multiparts_say_7bit() -> None:
    inner = (
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>caf\xc3\xa9 au lait</p>"
    )
    binary = b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" + bytes(range(128, 256))
    message = one(
        b"--B\r\nContent-Type: multipart/alternative; boundary=I\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        b"--I\r\n" + inner + b"\r\n--I--\r\n--B\r\n" + binary + b"\r\n--B\r\n\r\nascii\r\n--B--\r\n",
        b"MIME-Version: 1.0",
        b"Content-Type: multipart/mixed; boundary=B",
        b"Content-Transfer-Encoding: 8BIT",
    )
    changed = seven_bit(message)
    assert changed.raw.isascii()
    assert [part.encoding for part in parts(changed)] == ["7bit", "7bit", "quoted-printable", "base64", ""]
    assert [part.octets for part in leaves(changed)] == [part.octets for part in leaves(message)]
    assert changed.body.endswith(b"--B\r\n\r\nascii\r\n--B--\r\n")
    assert seven_bit(changed) is changed


def test_base64_in_one_long_line_is_wrapped() -> None:
    message = one(b"YWJj" * 500 + b"\r\n", b"Content-Type: image/png", b"Content-Transfer-Encoding: base64")
    changed = seven_bit(message)
    assert not has_long_line(changed.body)
    assert parts(changed)[0].octets == b"abc" * 500
    assert changed.body.endswith(b"\r\n")


@pytest.mark.parametrize(
    "content",
    [
        b"YWI=\r\n" + b"YWJj" * 500 + b"\r\n",  # two pieces, each encoded alone
        b"YWJj" * 500 + b"YQ==\r\n\r\n_______\r\nthe footer of a list\r\n",
        b"YWI=\r\n-- \r\ncaf\xc3\xa9\r\n",
    ],
)
def test_what_stands_behind_the_end_of_base64_is_not_lost(content: bytes) -> None:
    """Of the first only the two octets of its first line went out."""
    message = one(content, b"Content-Type: application/pdf", b"Content-Transfer-Encoding: base64")
    assert seven_bit(message).raw == message.raw


def test_base64_that_ends_in_blanks_and_empty_lines_is_wrapped() -> None:
    message = one(b"YWJj" * 500 + b"YQ==\r\n \r\n", b"Content-Type: image/png", b"Content-Transfer-Encoding: base64")
    changed = seven_bit(message)
    assert not has_long_line(changed.body)
    assert parts(changed)[0].octets == b"abc" * 500 + b"a"


def test_long_texts_of_other_alphabets_become_base64() -> None:
    text = "Привет\r\n" * 9
    changed = seven_bit(one(text.encode(), b"Content-Type: text/plain; charset=utf-8"))
    assert (parts(changed)[0].encoding, parts(changed)[0].text) == ("base64", text)


def test_attached_mail_and_sealed_parts_keep_their_octets() -> None:
    signed = b"Content-Type: multipart/signed; boundary=S\r\n\r\n--S\r\n\r\ncaf\xc3\xa9\r\n--S--"
    message = mixed(b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ncaf\xc3\xa9", signed)
    assert seven_bit(message).raw == message.raw


def test_over_long_header_fields_are_folded_at_white_space() -> None:
    value = " ".join(["word"] * 500)
    message = one(b"x\r\n", b"References: " + value.encode(), b"X-Solid: " + b"x" * 1200)
    changed = seven_bit(message)
    assert changed.first("References") == value
    assert max(len(line) for line in changed.header.split(b"\r\n") if b"word" in line) <= 78
    assert changed.first("X-Solid") == "x" * 1200
    assert changed.body is message.body


def test_a_line_end_that_was_quoted_stays_what_it_was() -> None:
    """Beside an 8-bit octet it came out as a bare CR or LF, and so did all the others."""
    message = one(b"a=0Db=0A.=0A\xe9\r\n", b"Content-Transfer-Encoding: quoted-printable")
    changed = seven_bit(message)
    assert changed.body.isascii()
    assert not has_bare_line_end(changed.body)
    assert parts(changed)[0].octets == parts(message)[0].octets == b"a\rb\n.\n\xe9\r\n"


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"\r\n")), max_size=3),
    st.sampled_from([b"", b"text/plain", b"text/html; charset=iso-8859-1", b"application/octet-stream"]),
    st.sampled_from([b"", b"8bit", b"binary", b"7bit"]),
)
def test_seven_bit_octets_decode_to_the_same(contents: list[bytes], kind: bytes, encoding: bytes) -> None:
    fields = (b"Content-Type: " + kind + b"\r\n" if kind else b"") + (
        b"Content-Transfer-Encoding: " + encoding + b"\r\n" if encoding else b""
    )
    message = mixed(*[fields + b"\r\n" + content for content in contents])
    changed = seven_bit(message)
    assert changed.body.isascii()
    assert [part.octets for part in leaves(changed)] == [part.octets for part in leaves(message)]
    assert [p.get_payload(decode=True) for p in stdlib_leaves(changed.raw) if contents] == [
        part.octets for part in leaves(message)
    ]
