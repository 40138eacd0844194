"""Every odd mail of the corpus is signed with RSA and Ed25519, and other programs accept both signatures."""

import asyncio
from pathlib import Path

import dkim
import pytest

from mtaframe import Message
from mtaframe.clock import SystemClock
from mtaframe.testing import RecordingMta, envelope
from mtaframe_plugins.dkim import Dkim
from tests.conftest import Program
from tests.corpus import corpus
from tests.plugins.dkim_oracle import Dns, alone, dkimpy_accepts, ed25519_key, opendkim_says, rsa_key

MAILS = corpus()

NOT_FOR_DKIMPY = {"written/blank-before-colon", "written/tab-before-colon"}
"""dkimpy raises an exception at a blank before the colon (RFC 5322 §4.5.3)."""

NOT_FOR_OPENDKIM = {
    # OpenDKIM judges no mail without a From field, or with a topmost one in which it finds no address.
    "cpython/msg_05.txt",
    "cpython/msg_11.txt",
    "cpython/msg_18.txt",
    "cpython/msg_19.txt",
    "cpython/msg_37.txt",
    "cpython/msg_38.txt",
    "cpython/msg_39.txt",
    "cpython/msg_40.txt",
    "cpython/msg_43.txt",
    "dkimpy/test_nofrom.message",
    "flufl.bounce/simple_13.txt",
    "mailbits/related.eml",
    "mailparser/mixed.eml",
    "written/empty-from",
    "written/no-from",
    "written/no-header",
    "written/nothing-but-a-line",
    "written/tab-before-colon",  # it ends without a word, as it does not at a blank
    "written/unclosed-quote",
}


def as_transmitted(message: Message) -> Message:
    """What the next hop gets: SMTP ends the last line, whatever the message does."""
    ended = not message.body or message.body.endswith(b"\r\n")
    return message if ended else message.with_body(message.body + b"\r\n")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Message], Dns]:
    folder = tmp_path_factory.mktemp("keys")
    keys = [rsa_key(folder / "rsa.pem"), ed25519_key(folder / "ed.pem")]
    tables = [key.table() for key in keys]
    config = Dkim.Config.model_validate({"key": tables, "third_party": [{"domain": "example.com"}]})
    plugin = Dkim(config, RecordingMta(clock=SystemClock()))
    asyncio.run(plugin.start())
    made: dict[str, Message] = {}
    for name, octets in MAILS:
        answer = plugin.sign(envelope(), Message.parse(octets))
        assert isinstance(answer, Message), name
        made[name] = as_transmitted(answer)
    return made, {f"{key.path.stem}._domainkey.example.com": key.record for key in keys}


def test_the_corpus_is_whole() -> None:
    assert len(MAILS) > 110
    assert len({name for name, _ in MAILS}) == len(MAILS)
    assert {name for name, _ in MAILS} >= NOT_FOR_OPENDKIM | NOT_FOR_DKIMPY


@pytest.mark.parametrize("name", [name for name, _ in MAILS if name not in NOT_FOR_DKIMPY])
def test_dkimpy_accepts_both_signatures(name: str, signed: tuple[dict[str, Message], Dns]) -> None:
    messages, dns = signed
    assert dkimpy_accepts(messages[name], 0, dns)
    assert dkimpy_accepts(messages[name], 1, dns)


def test_dkimpy_refuses_a_changed_body(signed: tuple[dict[str, Message], Dns]) -> None:
    messages, dns = signed
    message = messages["written/dots"]
    with pytest.raises(dkim.ValidationError, match="body hash"):
        dkimpy_accepts(message.with_body(message.body + b"more\r\n"), 0, dns)


def test_opendkim_accepts_both_signatures(
    signed: tuple[dict[str, Message], Dns], program: Program, tmp_path: Path
) -> None:
    opendkim, (messages, dns) = program("opendkim"), signed
    names = [name for name in messages if name not in NOT_FOR_OPENDKIM]
    for index in (0, 1):
        said = opendkim_says(opendkim, tmp_path, [alone(messages[name], index) for name in names], dns)
        wrong = {name: text for name, text in zip(names, said, strict=True) if not text.endswith("succeeded")}
        assert wrong == {}


def test_opendkim_refuses_a_changed_body(
    signed: tuple[dict[str, Message], Dns], program: Program, tmp_path: Path
) -> None:
    messages, dns = signed
    message = alone(messages["written/dots"], 0)
    changed = message.with_body(message.body + b"more\r\n")
    (said,) = opendkim_says(program("opendkim"), tmp_path, [changed], dns)
    assert "succeeded" not in said
