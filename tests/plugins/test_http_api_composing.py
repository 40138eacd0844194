"""The message that outgoing mail becomes, as programs read it that know nothing of us."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mtaframe_plugins.http_api.composing import composed
from mtaframe_plugins.http_api.door import Problem
from mtaframe_plugins.http_api.mimepost.emails import Email, outgoing
from mtaframe_plugins.http_api.reading import media_type
from tests.plugins.api_house import api, email, parsed


def written(**more: Any) -> bytes:
    message = composed(outgoing(Email.model_validate(email(**more)), None), datetime(2026, 1, 2, tzinfo=UTC))
    return message.header + b"\r\n" + message.body


@pytest.mark.parametrize(
    "name",
    [
        "x" * 59 + " y.txt",
        "bäc" * 30,
        "日本語" * 50 + ".pdf",
        "😀" * 60,
        'q"uo\\te.txt',
        "100% of it; and 'more' " * 4 + ".",
    ],
)
def test_the_name_of_a_file_is_cut_between_characters(name: str) -> None:
    raw = written(attachments=[{"name": name, "content": "eA=="}])
    [part] = parsed(raw).iter_attachments()
    assert part.get_filename() == name
    pieces = re.findall(rb"filename\*[0-9]*\*?=(?:utf-8'')?([^;\s]+)", raw)
    for piece in pieces:
        assert re.fullmatch(rb"(?:%[0-9A-F]{2}|[^%])+", piece)
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Rechnung.pdf", "application/pdf"),
        ("Re: http://example.com/a.PDF", "application/pdf"),
        ("a.tar.gz", "application/octet-stream"),
        ("http://[a.pdf", "application/pdf"),
        ("//[", "application/octet-stream"),
        ("x.a://[", "application/octet-stream"),
        ("data:text/html,", "application/octet-stream"),
        ("pdf", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_what_a_file_is_follows_from_the_end_of_its_name_whatever_that_is(name: str, kind: str) -> None:
    assert media_type(None, name) == kind


async def test_a_domain_beyond_ascii_needs_no_smtputf8(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        body = email("x@müller.example", cc=["y@bücher.example"], reply_to="Z <z@müller.example>")
        status, _ = await running.call("POST", "/v1/emails", body)
        assert status == 200
        assert not any("SMTPUTF8" in command for command in running.mx.commands if command.startswith("MAIL"))
        for received in running.mx.received:
            message = parsed(received.raw)
            assert message["To"] == "x@xn--mller-kva.example"
            assert message["Cc"] == "y@xn--bcher-kva.example"
            assert message["Reply-To"] == "Z <z@xn--mller-kva.example>"


async def test_a_domain_with_an_eszett_is_not_the_one_with_two_s(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        assert (await running.call("POST", "/v1/emails", email("x@straße.example")))[0] == 200
        [received] = running.mx.received
        assert received.recipients == ["x@xn--strae-oqa.example"]
        assert parsed(received.raw)["To"] == "x@xn--strae-oqa.example"


def test_custom_data_fits_into_a_field_and_into_what_webhooks_take() -> None:
    message = parsed(written(vars={"a": "x" * 880, "b": "y z " * 500}))
    assert '"a": "xxx' in message["X-Vars"]
    assert max(map(len, written(vars={"a": "x" * 880}).split(b"\r\n"))) <= 998
    for data in ({"a": "x" * 1000}, {"a": "ü" * 300}, {"a": "x y " * 1100}, {str(number): "" for number in range(101)}):
        with pytest.raises(Problem) as caught:
            written(vars=data)
        assert (caught.value.status, caught.value.field) == (400, "vars")
