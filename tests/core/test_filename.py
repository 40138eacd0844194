import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtaframe import Message, parts, with_texts


def attached(disposition: str, kind: str = "application/pdf") -> Message:
    head = f"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: {kind}\r\n"
    rest = f"Content-Disposition: {disposition}\r\n\r\nx\r\n--B--\r\n"
    return Message.parse((head + rest).encode())


def renamed(message: Message, name: str) -> Message:
    return with_texts(message, {}, {parts(message)[1]: name})


@pytest.mark.parametrize(
    ("disposition", "name", "expected"),
    [
        ("attachment; filename=a.pdf", "b.pdf", 'attachment; filename="b.pdf"'),
        ('attachment; filename="a b.pdf"; size=3', 'x"\\.pdf', 'attachment; size=3; filename="x\\"\\\\.pdf"'),
        ("attachment; filename*=utf-8''%C3%A9", "é.pdf", "attachment; filename*=utf-8''%C3%A9.pdf"),
        ("attachment; filename*0=a; filename*1=b", "c", 'attachment; filename="c"'),
        ('attachment; filename="=?utf-8?q?=C3=A9?="', "=?x?=", "attachment; filename*=utf-8''%3D%3Fx%3F%3D"),
    ],
)
def test_a_file_gets_another_name(disposition: str, name: str, expected: str) -> None:
    changed = renamed(attached(disposition), name)
    assert parts(changed)[1].section.first("Content-Disposition") == expected
    assert parts(changed)[1].filename == name


def test_both_fields_are_changed_where_they_say_the_same() -> None:
    changed = renamed(attached("attachment; filename=a.pdf", 'application/pdf; name="a.pdf"; x=y'), "b.pdf")
    assert parts(changed)[1].section.first("Content-Type") == 'application/pdf; x=y; name="b.pdf"'
    other = renamed(attached("attachment; filename=a.pdf", "application/pdf; name=z.pdf"), "b.pdf")
    assert parts(other)[1].section.first("Content-Type") == "application/pdf; name=z.pdf"


def test_a_text_and_its_name_change_together() -> None:
    message = attached("attachment; filename=a.txt", "text/plain; charset=us-ascii")
    changed = with_texts(message, {parts(message)[1]: "é"}, {parts(message)[1]: "é.txt"})
    found = parts(changed)[1]
    assert (found.text, found.filename, found.charset) == ("é", "é.txt", "utf-8")


def test_what_is_signed_keeps_its_name() -> None:
    part = b'--B\r\nContent-Disposition: attachment; filename="a"\r\n\r\n\r\n--B--\r\n'
    raw = b"Content-Type: multipart/signed; boundary=B\r\n\r\n" + part
    message = Message.parse(raw)
    with pytest.raises(ValueError, match="signed"):
        renamed(message, "b")


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_no_name_can_bring_a_field(name: str) -> None:
    message = attached("attachment; filename=a.pdf", "application/pdf; name=a.pdf")
    changed = renamed(message, name)
    found = parts(changed)[1]
    assert [f.name for f in found.section.fields] == ["Content-Type", "Content-Disposition"]
    assert len(parts(changed)) == 2
    assert changed.raw.isascii()
    if name.isprintable() and name.strip() == name:
        assert found.filename == name
        if name[:1] + name[-1:] == "<>":
            return  # which Python's parser takes for quotes, too
        parsed = email.message_from_bytes(changed.raw, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        [part] = parsed.iter_attachments()
        assert part.get_filename() == name
