"""Passwords are proven off the loop, once for many who ask at a time, and names can't be told by the clock."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mtaframe import accounts as module
from mtaframe.account import Account, Credential, Status, Token
from mtaframe.account_settings import AccountsSettings, CredentialSettings
from mtaframe.accounts import REMEMBERED, Accounts, hash_password
from mtaframe.consistency import accounts_with
from mtaframe.message import Message
from mtaframe.settings import Settings
from mtaframe.storage import Counter
from mtaframe.testing import VirtualClock
from mtaframe.tokens import hash_secret

SHOP = Account("shop", domains=frozenset({"example.com", ".sub.example.com"}),
               credentials=(Credential("shop@example.com", hash_password("correct horse")),))  # fmt: skip
CLUB = Account("club", "shop", frozenset({".example.com", "own.sub.example.com"}),
               credentials=(Credential("club", hash_password("пароль ✓")),))  # fmt: skip


@pytest.fixture
def proofs(monkeypatch):
    """The hashes that argon2 was really asked about."""
    asked = []
    real = module._matches

    def counting(expected, password):
        asked.append(expected)
        return real(expected, password)

    monkeypatch.setattr(module, "_matches", counting)
    return asked


def test_a_mapping_by_name():
    accounts = Accounts([SHOP, CLUB])
    assert (dict(accounts), len(accounts)) == ({"shop": SHOP, "club": CLUB}, 2)
    assert "example" not in repr(accounts)


@pytest.mark.parametrize(
    ("domain", "owner"),
    [
        ("example.com", SHOP),
        ("EXAMPLE.com.", SHOP),
        ("www.example.com", CLUB),
        ("a.sub.example.com", SHOP),
        ("a.b.sub.example.com", SHOP),
        ("sub.example.com", CLUB),
        ("own.sub.example.com", CLUB),
        ("anexample.com", None),
        ("com", None),
        ("", None),
        (".", None),
    ],
)
def test_the_nearest_entry_owns_a_domain(domain, owner):
    assert Accounts([SHOP, CLUB]).owner_of(domain) is owner


@pytest.mark.parametrize("domain", ["xn--bcher-kva.example", "bücher.example", "BÜCHER。example", "a.bücher.example"])
def test_a_domain_beyond_ascii_is_owned_however_it_is_written(domain):
    """A trusted client's mail from bücher.example was nobody's, and so without any limit."""
    owner = Account("books", domains=frozenset({"xn--bcher-kva.example", ".xn--bcher-kva.example"}))
    assert Accounts([owner]).owner_of(domain) is owner


@given(st.text())
def test_any_domain_has_an_answer(domain):
    Accounts([SHOP]).owner_of(domain)


def test_a_domain_that_is_too_long_for_one_costs_no_time():
    began = time.process_time()
    assert Accounts([CLUB]).owner_of("a." * 200_000 + "example.com") is None
    author = Message.parse(b"From: x@" + b"a." * 200_000 + b"example.com\r\n\r\n")
    assert Accounts([CLUB]).author_of(author) is None
    assert time.process_time() - began < 2, "each dot read all that is behind it: seven seconds"


@pytest.mark.parametrize("where", ["name", "streams"])
def test_a_name_is_no_longer_than_a_counter_takes(where):
    def read(name):
        keys = {"name": "shop", where: [name] if where == "streams" else name}
        return AccountsSettings.model_validate({"account": [keys]}).account[0]

    found = read("a" * 100)
    for stream in found.streams or ("",):
        Counter("sent", found.name, stream)
    with pytest.raises(ValidationError):
        read("a" * 101)


async def test_only_the_right_password_of_the_right_user():
    accounts = Accounts([SHOP, CLUB], VirtualClock())
    assert await accounts.authenticate("shop@example.com", "correct horse") is SHOP
    assert await accounts.authenticate("club", "пароль ✓") is CLUB
    for user, password in [
        ("club", "correct horse"),
        ("shop@example.com", ""),
        ("shop@example.com", "correct horse "),
        ("SHOP@example.com", "correct horse"),
        ("nobody", "correct horse"),
        ("", ""),
        ("club", "\udcff\ud800"),
    ]:
        assert await accounts.authenticate(user, password) is None
    assert await Accounts().authenticate("nobody", "x") is None


def test_a_hash_is_what_accounts_toml_takes():
    made = hash_password("x")
    assert CredentialSettings(user="u", hash=made).hash == made
    assert made != hash_password("x")


async def test_a_proof_is_remembered_for_a_minute(proofs):
    clock = VirtualClock()
    accounts = Accounts([SHOP], clock)
    for _ in range(3):
        assert await accounts.authenticate("shop@example.com", "correct horse") is SHOP
    assert len(proofs) == 1
    assert await accounts.authenticate("shop@example.com", "wrong") is None
    assert await accounts.authenticate("shop@example.com", "wrong") is None
    assert len(proofs) == 3, "a wrong password is never remembered"
    clock.advance(REMEMBERED - 1)
    assert await accounts.authenticate("shop@example.com", "correct horse") is SHOP
    assert len(proofs) == 3
    clock.advance(2)
    assert await accounts.authenticate("shop@example.com", "correct horse") is SHOP
    assert len(proofs) == 4


async def test_what_is_remembered_cannot_be_read(proofs):
    accounts = Accounts([SHOP])
    await accounts.authenticate("shop@example.com", "correct horse")
    other = Accounts([SHOP])
    await other.authenticate("shop@example.com", "correct horse")
    assert "correct horse" not in str(vars(accounts))
    assert accounts._proven["shop@example.com"][0] != other._proven["shop@example.com"][0]


async def test_many_at_once_are_one_proof(proofs):
    accounts = Accounts([SHOP])
    found = await asyncio.gather(*(accounts.authenticate("shop@example.com", "correct horse") for _ in range(50)))
    assert found == [SHOP] * 50
    assert len(proofs) == 1
    assert not accounts._under_way


async def test_who_gives_up_waiting_does_not_spoil_it_for_the_others(proofs):
    accounts = Accounts([SHOP])
    first = asyncio.create_task(accounts.authenticate("shop@example.com", "correct horse"))
    second = asyncio.create_task(accounts.authenticate("shop@example.com", "correct horse"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is SHOP
    assert len(proofs) == 1


async def test_an_unknown_user_costs_the_same(proofs):
    """One hash with the same parameters is computed for either, so the time tells nothing."""
    accounts = Accounts([SHOP])
    for user in ("shop@example.com", "nobody"):
        assert await accounts.authenticate(user, "wrong") is None
    known, unknown = (hash_.rpartition("$")[0].rpartition("$")[0] for hash_ in proofs)
    assert known == unknown
    assert known.startswith("$argon2id$v=19$m=")


async def test_the_loop_stays_awake_during_a_storm_of_wrong_passwords():
    accounts = Accounts([SHOP])
    storm = asyncio.gather(*(accounts.authenticate("shop@example.com", f"wrong {n}") for n in range(20)))
    longest, last = 0.0, time.perf_counter()
    while not storm.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    assert await storm == [None] * 20
    assert longest < 1.0, "one proof after the other on the loop would take longer than that"


def test_the_worst_status_along_the_chain_holds():
    tree = [
        Account("top", status=Status.LIMITED),
        Account("middle", "top"),
        Account("low", "middle", status=Status.PENDING),
        Account("gone", "middle", status=Status.CLOSED),
        Account("orphan", "nobody"),
    ]
    accounts = Accounts(tree)
    assert {name: accounts.status_of(name).value for name in (*accounts, "nobody")} == {
        "top": "limited",
        "middle": "limited",
        "low": "pending",
        "gone": "closed",
        "orphan": "approved",
        "nobody": "closed",
    }
    assert [account.name for account in accounts.chain("low")] == ["low", "middle", "top"]
    assert (sorted(accounts.below("top")), accounts.below("low")) == (["gone", "low", "middle"], ())
    assert accounts.chain("nobody") == ()


async def test_what_is_closed_above_proves_nothing_below():
    token = Token("website", "a" * 12, hash_secret("A" * 43))
    below = Account("club", "shop", credentials=CLUB.credentials, tokens=(token,))
    for status, is_open in [(Status.SUSPENDED, True), (Status.CLOSED, False)]:
        accounts = Accounts([Account("shop", status=status, domains=frozenset({"example.com"})), below])
        assert (await accounts.authenticate("club", "пароль ✓") is below) is is_open
        assert (accounts.of_token(f"mta_{'a' * 12}_{'A' * 43}") is not None) is is_open
        assert (accounts.of_user("club") is below) is is_open
        assert accounts.owner_of("example.com") is accounts["shop"], "its mail is known for its own"


def test_what_nobody_heeds_is_told():
    accounts = AccountsSettings.model_validate(
        {"account": [{"name": "shop", "status": "suspended", "pool": "a"}, {"name": "club", "quota": 5, "per_hour": 1}]}
    )
    assert [(f.path, f.kind) for f in accounts_with(Settings(plugins=("ip_pools",)), accounts)] == [
        (("account", 0, "status"), "warning"),
        (("account", 1, "quota"), "warning"),
        (("account", 1, "per_hour"), "warning"),
    ]
    assert accounts_with(Settings(plugins=("ip_pools", "admission", "usage", "thresholds")), accounts) == []
