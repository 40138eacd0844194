"""The dkim plugin: domains that account holders have proven are signed for, each under a selector of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mtaframe import Account, Message, ProvenKey, ProvenSelector, Reject
from mtaframe.testing import RecordingMta, ScriptedDns, account, envelope, message
from mtaframe_plugins.dkim import Dkim
from tests.plugins.dkim_oracle import KeyFile, dkimpy_accepts, ed25519_key, rsa_key, signed_names

PROVEN = {"domain": "mta.example.net", "selector": "proven"}
ACCOUNTS = (account("shop", domains=frozenset()), account("rival", domains=frozenset({"rival.example"})))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return ed25519_key(tmp_path_factory.mktemp("keys") / "ed.pem")


async def selector(question: ProvenSelector) -> str | None:
    return "m1234" if (question.account, question.domain) == ("shop", "proven.example") else None


def mta(accounts: Sequence[Account] = ACCOUNTS) -> RecordingMta:
    return RecordingMta(accounts=accounts, answers={ProvenSelector: selector})


async def plugin(core: RecordingMta, key: KeyFile, *keys: dict[str, object], **more: object) -> Dkim:
    proven = {"proven": {**PROVEN, "file": str(key.path)}}
    made = Dkim(Dkim.Config.model_validate({"key": keys, **proven, **more}), core)
    await made.start()
    return made


async def signed(dkim: Dkim, author: str, account_name: str | None) -> Any:
    answer = dkim.sign(envelope(account=account_name), message(fields={"From": author}))
    return answer if answer is None or isinstance(answer, (Message, Reject)) else await answer


async def names(dkim: Dkim, author: str, account_name: str | None = "shop") -> list[tuple[str, str]]:
    answer = await signed(dkim, author, account_name)
    return signed_names(answer) if isinstance(answer, Message) else []


async def test_a_proven_domain_signs_under_the_accounts_own_selector(key: KeyFile) -> None:
    dkim = await plugin(mta(), key)
    answer = await signed(dkim, "a@proven.example", "shop")
    assert signed_names(answer) == [("proven.example", "m1234")]
    assert dkimpy_accepts(answer, 0, {"m1234._domainkey.proven.example": key.record})


async def test_nobody_elses_mail_is_signed_for_it(key: KeyFile) -> None:
    dkim = await plugin(mta(), key)
    assert await names(dkim, "a@proven.example", "rival") == []
    assert await names(dkim, "a@proven.example", None) == []
    assert await names(dkim, "a@sub.proven.example") == []
    assert await names(dkim, "a@proven.example, b@rival.example") == []
    assert await names(dkim, "a@mta.example.net") == []


async def test_a_key_of_the_file_is_first_and_nobody_is_asked(key: KeyFile) -> None:
    core = mta()
    dkim = await plugin(core, key, key.table("proven.example", "file"))
    assert await names(dkim, "a@proven.example") == [("proven.example", "file")]
    assert core.questions == []


async def test_without_the_table_nobody_is_asked(key: KeyFile) -> None:
    core = mta()
    dkim = Dkim(Dkim.Config(), core)
    await dkim.start()
    assert dkim.sign(envelope(account="shop"), message(fields={"From": "a@proven.example"})) is None
    assert core.questions == []
    assert await dkim.answers()[ProvenKey](ProvenKey()) is None


async def test_third_parties_sign_beside_it_only_where_they_always_do(key: KeyFile) -> None:
    esp = key.table("esp.example", "esp", accounts=["operations"])
    other = key.table("help.example", "help")
    accounts = (*ACCOUNTS, account("operations", domains=frozenset()))
    third = [{"domain": "esp.example", "always": True}, {"domain": "help.example"}]
    always = await plugin(mta(accounts), key, esp, other, third_party=third)
    assert await names(always, "a@proven.example") == [("proven.example", "m1234"), ("esp.example", "esp")]
    helped = await plugin(mta(accounts), key, esp, other, third_party=third[1:])
    assert await names(helped, "a@proven.example") == [("proven.example", "m1234")]
    assert await names(helped, "a@other.example") == [("help.example", "help")]


async def test_what_is_not_proven_is_refused_where_all_must_be_signed(key: KeyFile) -> None:
    dkim = await plugin(mta(), key, unsigned="reject")
    assert isinstance(await signed(dkim, "a@stranger.example", "shop"), Reject)
    assert isinstance(await signed(dkim, "a@proven.example", "shop"), Message)


async def test_it_says_where_the_key_is_and_what_it_publishes(key: KeyFile) -> None:
    dkim = await plugin(mta(), key)
    host, public = await dkim.answers()[ProvenKey](ProvenKey())
    assert host == "proven._domainkey.mta.example.net"
    assert key.record.endswith(f"p={public}")
    async with ScriptedDns({host: {"TXT": [key.record]}}) as dns:
        core = RecordingMta(resolver=dns.resolver())
        assert (await (await plugin(core, key)).dns())[-1] == {
            "domain": "mta.example.net",
            "selector": "proven",
            "algorithm": "ed25519-sha256",
            "record": "as it should be",
        }


async def test_a_key_that_vanishes_before_the_start_is_said(tmp_path: Path) -> None:
    key = rsa_key(tmp_path / "k.pem", 1024)
    made = Dkim(Dkim.Config.model_validate({"proven": {**PROVEN, "file": str(key.path)}}), RecordingMta())
    key.path.unlink()
    with pytest.raises(ValueError, match=r"\[proven\]: there is no such file"):
        await made.start()
