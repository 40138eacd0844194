"""The built-in checks of spam_filter: header fields, and programs under any name and encoding."""

import base64
import io
import quopri
import struct
import time
import zipfile
from email.message import EmailMessage
from typing import Any

import pytest

from mtaframe import Defer, Message, Reject
from mtaframe.testing import RecordingMta, envelope, message
from mtaframe_plugins.spam_filter import SpamFilter
from mtaframe_plugins.spam_filter.attachments import holds_program
from tests.plugins.scripted_rspamd import ScriptedRspamd, opinion

WINDOWS = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0" + bytes(200) + b"PE\0\0"
ELF = b"\x7fELF\x02\x01\x01" + bytes(200)


def zipped(*names: str, method: int = zipfile.ZIP_DEFLATED, content: bytes = b"hello " * 50) -> bytes:
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)
    return octets.getvalue()


def attached(octets: bytes, content_type: str = "application/octet-stream", filename: str = "a.pdf") -> Message:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "alice@example.com", "see there"
    mail.set_content("Hello.\n")
    main, _, sub = content_type.partition("/")
    mail.add_attachment(octets, maintype=main, subtype=sub, filename=filename)
    return Message.parse(mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def part(encoding: str, content: bytes) -> Message:
    return Message.parse(
        b"From: a@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n--b--\r\n"
        % (encoding.encode(), content)
    )


async def answer(mail: Message, **checks: str) -> Any:
    spam_filter = SpamFilter(SpamFilter.Config.model_validate({"url": "", "checks": checks}), RecordingMta())
    return await spam_filter.on_data(envelope(), mail)


@pytest.mark.parametrize(
    "octets",
    [
        WINDOWS,
        ELF,
        struct.pack(">I", 0xFEEDFACF) + bytes(80),
        struct.pack("<I", 0xFEEDFACE) + bytes(80),
        struct.pack(">I", 0xCAFEBABE) + bytes(80),
        b"L\0\0\0\x01\x14\x02\0" + bytes(80),
        zipped("invoice.exe"),
        zipped("a.txt", "deep/er/INVOICE.PDF.Scr"),
        zipped("x.js", method=zipfile.ZIP_STORED),
        zipped("trailing.exe. ."),
        zipped("inner.zip", method=zipfile.ZIP_STORED, content=zipped("a.vbs")),
    ],
)
def test_a_program_is_found_whatever_its_name_and_type_say(octets: bytes) -> None:
    assert holds_program(attached(octets))
    assert holds_program(attached(octets, "image/png", "picture.png"))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"M",
        b"MZ, that is how the story of Mark Zbikowski begins.\r\n" * 9,
        b"%PDF-1.7 MZ\0",
        zipped("a.txt", "word/document.xml"),
        zipped("www.example.com/", "www.example.com/readme", "exe", "a.exe.txt"),
        b"PK\x03\x04 and no archive",
        b"PK\x03\x04" + bytes(30),
    ],
)
def test_what_is_no_program_passes(octets: bytes) -> None:
    assert not holds_program(attached(octets))


def test_every_transfer_encoding_is_undone() -> None:
    assert holds_program(part("base64", base64.encodebytes(WINDOWS).replace(b"\n", b"\r\n")))
    assert holds_program(part("BASE64", base64.b64encode(ELF)))
    assert holds_program(part("quoted-printable", quopri.encodestring(WINDOWS).replace(b"\n", b"\r\n")))
    assert holds_program(part("binary", WINDOWS))


def test_what_decoders_skip_hides_nothing() -> None:
    assert holds_program(part("base64", b" !" * 5000 + b"\r\n" + base64.encodebytes(WINDOWS)))
    assert holds_program(part("base64", base64.b64encode(zipped("a.exe", content=b"x" * 50_000) + b"more")))


def test_an_archive_that_lies_in_one_place_about_its_names_is_found_out() -> None:
    first, second, third = zipped("invoice.exe").split(b".exe")
    assert holds_program(attached(first + b".txt" + second + b".exe" + third))
    assert holds_program(attached(first + b".exe" + second + b".txt" + third))
    assert not holds_program(attached(first + b".txt" + second + b".txt" + third))


def test_attached_messages_are_looked_into_up_to_a_depth() -> None:
    mail = attached(WINDOWS)
    for depth in range(6):
        assert holds_program(mail) == (depth <= 5)
        mail = Message.parse(b"Content-Type: message/rfc822\r\n\r\n" + mail.raw)
    assert not holds_program(mail)


def test_a_hostile_archive_takes_no_longer_than_its_size() -> None:
    began = time.monotonic()
    assert not holds_program(part("binary", b"PK\x03\x04" * 500_000))
    assert not holds_program(part("binary", (b"PK\x01\x02" + bytes(24) + b"\xff\xff" + bytes(16)) * 40_000))
    assert time.monotonic() - began < 5


async def test_a_large_message_is_looked_through_beside_the_loop() -> None:
    assert isinstance(await answer(attached(WINDOWS + bytes(600_000))), Reject)


HEADERS: list[tuple[dict[str, str | None], str]] = [
    ({"From": None}, "from_field"),
    ({"from": "mallory@example.org"}, "from_field"),
    ({"Date": None}, "date"),
    ({"Date": "yesterday"}, "date"),
    ({"Date": ""}, "date"),
    ({"Date": "Sun, 99 Mar 2026 12:00:00 +0000"}, "date"),
    ({"date": "Sun, 01 Mar 2026 12:00:00 +0000"}, "date"),
    ({"Message-ID": None}, "message_id"),
    ({"Message-ID": "1@example.com"}, "message_id"),
    ({"Message-ID": "<1>"}, "message_id"),
    ({"Message-ID": "<1@example.com> <2@example.com>"}, "message_id"),
    ({"message-id": "<2@example.com>"}, "message_id"),
]


@pytest.mark.parametrize(("fields", "check"), HEADERS)
async def test_each_check_is_the_operators_choice(fields: dict[str, str | None], check: str) -> None:
    mail = message(fields=fields)
    refused = await answer(mail, **{check: "reject"})
    assert isinstance(refused, Reject)
    assert refused.reply.line.startswith("554 5.6.0 the message must have exactly one ")
    assert isinstance(await answer(mail, **{check: "defer"}), Defer)
    tagged = await answer(mail, **{check: "tag"})
    assert tagged.header == b"X-Spam: Yes\r\n" + mail.header
    assert await answer(mail, **{check: "off"}) is None


async def test_as_shipped_two_checks_refuse_and_two_are_off() -> None:
    assert (await answer(attached(WINDOWS))).reply.line == "552 5.7.1 attachments that are programs are not accepted"
    assert isinstance(await answer(message(fields={"From": None})), Reject)
    assert await answer(message(fields={"Date": None, "Message-ID": None})) is None
    everything = dict.fromkeys(("executables", "from_field", "date", "message_id"), "reject")
    assert await answer(message(), **everything) is None
    assert await answer(message(fields={"Date": "1 Mar 26 12:00 GMT", "Message-ID": " <a.b@[1.2.3.4]>\t"})) is None


async def test_the_strictest_finding_decides() -> None:
    async with ScriptedRspamd(opinion("add header", 7), opinion("soft reject")) as rspamd:
        mta = RecordingMta()
        config = {"url": rspamd.url, "checks": {"date": "tag", "message_id": "defer"}}
        spam_filter = SpamFilter(SpamFilter.Config.model_validate(config), mta)
        tagged = await spam_filter.on_data(envelope(), message(fields={"Date": None}))
        assert isinstance(tagged, Message)
        assert (tagged.first("X-Spam"), tagged.first("X-Spam-Score")) == ("Yes", "7.00")
        assert isinstance(await spam_filter.on_data(envelope(), message(fields={"Date": None})), Defer)
        assert isinstance(await spam_filter.on_data(envelope(), message(fields={"Message-ID": None})), Defer)
        asked = len(rspamd.asked)
        assert isinstance(await spam_filter.on_data(envelope(), message(fields={"From": None})), Reject)
        assert len(rspamd.asked) == asked, "what is rejected anyway needs no scan"
        await mta.http.close()  # type: ignore[attr-defined]
