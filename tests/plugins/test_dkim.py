"""The dkim plugin: which keys sign whose mail, what a wrong key does to the configuration, how a key is changed."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from mtaframe import Account, Message, Reject
from mtaframe.assembly import read
from mtaframe.config import ConfigError
from mtaframe.reference import settings_table
from mtaframe.testing import RecordingMta, ScriptedDns, VirtualClock, account, envelope, message
from mtaframe_plugins.dkim import Dkim
from mtaframe_plugins.dkim.settings import OVERSIGNED, DkimSettings, KeySettings, ProvenSettings, ThirdPartySettings
from tests.plugins.dkim_oracle import KeyFile, dkimpy_accepts, ed25519_key, rsa_key, signed_names

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "conf" / "dkim.toml"
PAGE = ROOT / "docs" / "plugins" / "dkim.md"


@pytest.fixture(scope="module")
def rsa(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return rsa_key(tmp_path_factory.mktemp("keys") / "rsa.pem")


@pytest.fixture(scope="module")
def ed(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return ed25519_key(tmp_path_factory.mktemp("keys") / "ed.pem")


async def plugin(
    *keys: dict[str, object], accounts: Sequence[Account] = (), mta: RecordingMta | None = None, **more: object
) -> Dkim:
    config = Dkim.Config.model_validate({"key": keys, **more})
    made = Dkim(config, mta or RecordingMta(accounts=accounts))
    await made.start()
    return made


def names(dkim: Dkim, author: str, account_name: str | None = None) -> list[tuple[str, str]]:
    """(domain, selector) of the signatures that mail with this From field gets."""
    mail = message(fields={"From": author})
    answer = dkim.sign(envelope(account=account_name), mail)
    return signed_names(answer) if isinstance(answer, Message) else []


# What is signed.


async def test_all_keys_of_the_domain_sign_in_one_pass(rsa: KeyFile, ed: KeyFile) -> None:
    dkim = await plugin(rsa.table(), ed.table(), ed.table(domain="example.org"))
    signed = dkim.sign(envelope(), message())
    assert isinstance(signed, Message)
    assert signed_names(signed) == [("example.com", "rsa"), ("example.com", "ed")]
    dns = {"rsa._domainkey.example.com": rsa.record, "ed._domainkey.example.com": ed.record}
    assert dkimpy_accepts(signed, 0, dns)
    assert dkimpy_accepts(signed, 1, dns)


async def test_fields_are_only_added_on_top(rsa: KeyFile) -> None:
    dkim = await plugin(rsa.table())
    signed = dkim.sign(envelope(), message())
    assert isinstance(signed, Message)
    assert signed.header.endswith(message().header)
    assert signed.header.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n")
    assert signed.body == message().body


@pytest.mark.parametrize("name", OVERSIGNED)
async def test_no_oversigned_field_can_be_added(name: str, ed: KeyFile) -> None:
    dkim = await plugin(ed.table())
    signed = dkim.sign(envelope(), message())
    assert isinstance(signed, Message)
    dns = {"ed._domainkey.example.com": ed.record}
    assert dkimpy_accepts(signed, 0, dns)
    assert not dkimpy_accepts(signed.prepend(name, "more"), 0, dns)
    assert not dkimpy_accepts(signed.append(name, "more"), 0, dns)


async def test_trace_fields_can_be_added(ed: KeyFile) -> None:
    dkim = await plugin(ed.table())
    signed = dkim.sign(envelope(), message().prepend("Received", "from a by b"))
    assert isinstance(signed, Message)
    later = signed.prepend("Received", "from b by c").prepend("Return-Path", "<a@example.com>")
    later = later.without("Received").append("X-Other", "x")
    assert dkimpy_accepts(later, 0, {"ed._domainkey.example.com": ed.record})


async def test_the_time_is_the_clocks(ed: KeyFile) -> None:
    clock = VirtualClock()
    dkim = await plugin(ed.table(), mta=RecordingMta(clock=clock), lifetime="2d")
    clock.advance(60)
    signed = dkim.sign(envelope(), message())
    assert isinstance(signed, Message)
    value = signed.first("DKIM-Signature") or ""
    now = int(clock.now().timestamp())
    assert re.search(rf"t={now}; x={now + 172800};", value)


# Whose key signs.


async def test_a_parent_domain_signs_for_its_subdomains(ed: KeyFile) -> None:
    dkim = await plugin(ed.table(), ed.table("own.example.com"), ed.table("strict.example", subdomains=False))
    assert names(dkim, "a@news.example.com") == [("example.com", "ed")]
    assert names(dkim, "a@x.own.example.com") == [("own.example.com", "ed")]
    assert names(dkim, "a@strict.example") == [("strict.example", "ed")]
    assert names(dkim, "a@x.strict.example") == []
    assert names(dkim, "a@notexample.com") == []
    assert names(dkim, "a@com") == []


async def test_a_domain_signs_for_the_account_that_owns_it(ed: KeyFile) -> None:
    """Else one customer could have another's name signed."""
    accounts = [
        account("acme"),
        account("branch", parent="acme", domains=frozenset()),
        account("other", domains=frozenset({"other.example"})),
    ]
    dkim = await plugin(ed.table(), ed.table("free.example"), accounts=accounts)
    for author in ("a@example.com", "a@news.example.com"):
        assert names(dkim, author, "acme") == [("example.com", "ed")]
        assert names(dkim, author, "branch") == [("example.com", "ed")]
        assert names(dkim, author, "other") == []
        assert names(dkim, author, None) == []
    assert names(dkim, "a@free.example", "other") == [("free.example", "ed")]
    assert names(dkim, "a@free.example", None) == [("free.example", "ed")]


async def test_a_subdomain_of_another_account_is_not_signed_for_the_parent(ed: KeyFile) -> None:
    accounts = [account("acme"), account("tenant", domains=frozenset({".tenant.example.com"}))]
    dkim = await plugin(ed.table(), accounts=accounts)
    assert names(dkim, "a@x.tenant.example.com", "acme") == []
    assert names(dkim, "a@x.tenant.example.com", "tenant") == []
    assert names(dkim, "a@y.example.com", "acme") == [("example.com", "ed")]


async def test_a_key_may_be_given_to_accounts(ed: KeyFile) -> None:
    accounts = [account("acme"), account("agency", domains=frozenset())]
    dkim = await plugin(ed.table(accounts=["agency"]), ed.table(selector="own"), accounts=accounts)
    assert names(dkim, "a@example.com", "agency") == [("example.com", "ed")]
    assert names(dkim, "a@example.com", "acme") == [("example.com", "own")]


async def test_a_third_party_signs_where_the_author_has_no_key(ed: KeyFile) -> None:
    accounts = [account("acme"), account("other", domains=frozenset())]
    third = [{"domain": "esp.example", "accounts": ["acme"]}]
    dkim = await plugin(ed.table(), ed.table("esp.example"), accounts=accounts, third_party=third)
    assert names(dkim, "a@nokey.example", "acme") == [("esp.example", "ed")]
    assert names(dkim, "a@example.com", "acme") == [("example.com", "ed")]
    assert names(dkim, "a@nokey.example", "other") == []


async def test_a_third_party_may_sign_always(rsa: KeyFile, ed: KeyFile) -> None:
    third = [{"domain": "esp.example", "always": True}]
    dkim = await plugin(ed.table(), rsa.table("esp.example"), third_party=third)
    assert names(dkim, "a@example.com") == [("example.com", "ed"), ("esp.example", "rsa")]
    assert names(dkim, "a@nokey.example") == [("esp.example", "rsa")]
    assert names(dkim, "a@esp.example") == [("esp.example", "rsa")]


@pytest.mark.parametrize("fields", [{"From": None}, {"From": "a@example.com, b@example.org"}, {"From": "nobody"}])
async def test_mail_without_a_certain_author_is_a_third_partys(fields: dict[str, str | None], ed: KeyFile) -> None:
    alone = await plugin(ed.table())
    assert alone.sign(envelope(), message(fields=fields)) is None
    helped = await plugin(ed.table(), third_party=[{"domain": "example.com"}])
    assert isinstance(helped.sign(envelope(), message(fields=fields)), Message)


async def test_two_from_fields_are_not_signed_for_either(ed: KeyFile) -> None:
    dkim = await plugin(ed.table())
    assert dkim.sign(envelope(), message().append("From", "a@example.org")) is None


# Mail that no key fits.


async def test_unsigned_mail_passes_unless_it_must_not(ed: KeyFile) -> None:
    stranger = message(fields={"From": "a@nokey.example"})
    assert (await plugin(ed.table())).sign(envelope(), stranger) is None
    strict = await plugin(ed.table(), unsigned="reject")
    verdict = strict.sign(envelope(), stranger)
    assert isinstance(verdict, Reject)
    assert "nokey" not in verdict.text
    assert strict.sign(envelope(reverse_path=None), stranger) is None


async def test_nothing_happens_without_keys() -> None:
    assert (await plugin()).sign(envelope(), message()) is None


# What is wrong with a key.


def folder(at: Path, dkim: str) -> Path:
    (at / "mtaframe.toml").write_text('plugins = ["dkim"]\n')
    (at / "dkim.toml").write_text(dkim)
    return at


def fault(at: Path, dkim: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder(at, dkim))
    (found,) = [str(fault) for fault in caught.value.faults if fault.kind == "error"]
    return found.removeprefix(f"{at}/")


def table(file: str, more: str = "") -> str:
    return f'# keys\n[[key]]\ndomain = "example.com"\nselector = "s"\nfile = "{file}"\n{more}\n'


def test_a_missing_file_is_said_with_file_line_and_key(tmp_path: Path) -> None:
    said = fault(tmp_path, table("gone.pem"))
    assert said == "dkim.toml:5: key.0.file: there is no such file: `mtaframe keygen DOMAIN` makes a key"


def pem(key: Any, password: bytes | None = None) -> bytes:
    cipher = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    octets: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)
    return octets


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a sound PEM private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a sound PEM private key"),
        (pem(Ed25519PrivateKey.generate(), b"secret"), "has a passphrase"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA nor Ed25519"),
    ],
)
def test_a_key_that_can_not_be_used_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "k.pem").write_bytes(content)
    said = fault(tmp_path, table("k.pem"))
    assert said.startswith("dkim.toml:5: key.0.file: ")
    assert words in said


def test_a_folder_in_place_of_a_key_is_said(tmp_path: Path) -> None:
    (tmp_path / "k.pem").mkdir()
    assert "dkim.toml:5: key.0.file: the file can't be read" in fault(tmp_path, table("k.pem"))


def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    """A key of 512 bits, made by OpenSSL for this test; cryptography makes none."""
    (tmp_path / "k.pem").write_text(
        """-----BEGIN PRIVATE KEY-----
MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEA4D4Fj6sXWyrnKqn3
YtI7tOfnO/r5IRmnL+79lpFBPlgN7XCb+1MI42pGthK+UdAKTgj3LXr9AV0OmIIP
2e9GywIDAQABAkBhA1QimLFtFr2V3pyRW0TLejy23VhkspV7DlkVh9gDIQPFo8ck
INdz6PoMshuGIRWoKI8oo8ETAZ973ceFSk1pAiEA+Qe2Nm2HyePbXoOb7uW0IZLA
oM6eR+mBX3FMv/D8aucCIQDmhLTM+SPjSJ4DUHK1hmDEMqvjeXHC2whGLWG48anM
fQIgJc/s8+C3sIj/gx9aqvCH5F0jEIeu8t5avYI3lCFkQlsCIQDaNSLEqM389x+E
eaGsDaEJ+AFYGfzC+/2QGKNZo4EdLQIhAMgE+5jnqqdHt6AeDMPVQsnEffQxa0Ba
gQdt31NVIsHk
-----END PRIVATE KEY-----
"""
    )
    said = fault(tmp_path, table("k.pem"))
    assert said.startswith("dkim.toml:5: key.0.file: the RSA key has 512 bits, and verifiers refuse less than 1024")


def test_the_algorithm_must_be_that_of_the_key(tmp_path: Path, ed: KeyFile) -> None:
    said = fault(tmp_path, table(str(ed.path), 'algorithm = "rsa-sha256"'))
    assert said == 'dkim.toml:6: key.0.algorithm: the key in "file" is for ed25519-sha256'


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("present = ['Received']", "must not be signed"),
        ("present = ['ARC-Seal']", "must not be signed"),
        ("present = ['Subject:']", "without a colon"),
        ("present = ['subject']", "listed twice"),
        ("oversign = ['Subject']", '"From" must be here'),
        ("lifetime = '5s'", "3600"),
        ("[[third_party]]\ndomain = 'esp.example'", "there is no [[key]] for esp.example"),
        ("[[key]]\ndomain = 'example.com'\nselector = 'S'\nfile = 'k.pem'", "used twice"),
        ("[[key]]\ndomain = 'exa mple'\nselector = 't'\nfile = 'k.pem'", "a domain is written as"),
        ("[[key]]\ndomain = 'example.com'\nselector = 's s'\nfile = 'k.pem'", "pattern"),
    ],
)
def test_other_faults_are_said(tmp_path: Path, ed: KeyFile, more: str, words: str) -> None:
    (tmp_path / "k.pem").write_bytes(ed.path.read_bytes())
    lines = [more, table("k.pem")] if "[[" not in more else [table("k.pem"), more]
    assert words in fault(tmp_path, "\n".join(lines))


async def test_an_unknown_account_is_said(ed: KeyFile) -> None:
    with pytest.raises(ValueError, match=r'of example\.com: there is no account "nobody"'):
        await plugin(ed.table(accounts=["nobody"]))


async def test_a_key_that_vanishes_before_the_start_is_said(tmp_path: Path) -> None:
    key = ed25519_key(tmp_path / "k.pem")
    made = Dkim(Dkim.Config.model_validate({"key": [key.table()]}), RecordingMta())
    key.path.unlink()
    with pytest.raises(ValueError, match=r"k of example\.com: there is no such file"):
        await made.start()


async def test_weak_and_open_keys_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = rsa_key(tmp_path / "k.pem", 1024)
    key.path.chmod(0o644)
    await plugin(key.table())
    assert [record.getMessage() for record in caplog.records] == [
        "dkim key domain=example.com selector=k: an RSA key of 1024 bits; 2048 to 4096 suit every verifier",
        "dkim key domain=example.com selector=k: everybody on this machine can read the file",
    ]


# Configuration and rotation.


def test_the_shipped_file_shows_every_default(tmp_path: Path) -> None:
    assert dict(read(folder(tmp_path, SHIPPED.read_text())).plugins)["dkim"] == DkimSettings()


def test_the_shipped_file_is_good_when_all_is_switched_on(tmp_path: Path, rsa: KeyFile) -> None:
    text = re.sub(r"(?m)^#(?! )", "", SHIPPED.read_text())
    text = re.sub(r"/etc/mtaframe/keys/\S+\.pem", str(rsa.path), text)
    text = re.sub(r"(\[\[third_party\]\]\n(?:.*\n)*?domain = )\S+", r'\1"example.com"', text)
    settings = dict(read(folder(tmp_path, text)).plugins)["dkim"]
    assert isinstance(settings, DkimSettings)
    plain = DkimSettings()
    assert (settings.oversign, settings.present, settings.unsigned) == (plain.oversign, plain.present, plain.unsigned)
    assert settings.lifetime == 30 * 86400
    assert [key.subdomains for key in settings.key] == [True]
    assert [third.always for third in settings.third_party] == [False]


def test_the_shipped_file_and_the_docs_show_every_key() -> None:
    shown = tomllib.loads(re.sub(r"(?m)^#(?! )", "", SHIPPED.read_text()))
    assert set(shown) == set(DkimSettings.model_fields)
    assert set(shown["key"][0]) == set(KeySettings.model_fields)
    assert set(shown["third_party"][0]) == set(ThirdPartySettings.model_fields)
    assert set(shown["proven"]) == set(ProvenSettings.model_fields)
    page = PAGE.read_text()
    assert f"<!-- generated: dkim -->\n{settings_table(Dkim.Config)}\n<!-- end -->" in page


async def test_another_selector_takes_over_with_the_next_configuration(tmp_path: Path, ed: KeyFile) -> None:
    (tmp_path / "new.pem").write_bytes(ed.path.read_bytes())
    seen = []
    for selector in ("old", "new"):
        config = read(folder(tmp_path, table("new.pem").replace('"s"', f'"{selector}"'))).plugins["dkim"]
        assert isinstance(config, DkimSettings)
        dkim = Dkim(config, RecordingMta())
        await dkim.start()
        seen.append(names(dkim, "a@example.com"))
    assert seen == [[("example.com", "old")], [("example.com", "new")]]


async def test_the_dns_is_compared_with_the_keys(rsa: KeyFile, ed: KeyFile) -> None:
    from mtaframe.resolver import DnsResolver
    from mtaframe.settings import DnsSettings

    records = {
        "good._domainkey.example.com": {"TXT": [rsa.record.replace("; ", " ;\t")]},
        "wrong._domainkey.example.com": {"TXT": [ed.record]},
        "two._domainkey.example.com": {"TXT": [ed.record, "v=DKIM1; p="]},
    }
    async with ScriptedDns(records) as dns:
        dns.fail("down._domainkey.example.com", "SERVFAIL")
        clock = VirtualClock()
        resolver = DnsResolver(DnsSettings(servers=(dns.server,)), clock)
        tables = [rsa.table(selector=s) for s in ("good", "wrong", "two", "down", "none")]
        dkim = await plugin(*tables, mta=RecordingMta(clock=clock, resolver=resolver))
        rows = await dkim.dns()
        await resolver.close()
    assert {row["selector"]: row["record"] for row in rows} == {
        "good": "as it should be",
        "wrong": "of another key",
        "two": "more than one: verifiers may take either",
        "down": "no answer now",
        "none": "missing",
    }


def test_a_fault_never_shows_the_key(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text("-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ValidationError) as caught:
        Dkim.Config.model_validate({"key": [{"domain": "a.example", "selector": "s", "file": str(tmp_path / "k.pem")}]})
    assert "SECRET" not in str(caught.value)
