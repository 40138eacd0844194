"""A token is known by its text alone, and nothing that is kept gives the text back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mtaframe.account import Account, Token
from mtaframe.account_settings import AccountsSettings, TokenSettings
from mtaframe.accounts import Accounts
from mtaframe.consistency import of_accounts
from mtaframe.testing import RecordingMta
from mtaframe.tokens import hash_secret, is_proven, new_token, taken_apart

ID = "k3v9x0q2m7ab"
TEXT = f"mta_{ID}_CKeRH97R9Dx8dkJdcqL-AYBFua49V4dBa5vNINAlba_"
HASH = hash_secret(TEXT[-43:])
SHOP = Account("shop", tokens=(Token("website", ID, HASH, "2021"),))


def test_a_token_leads_to_its_account_and_says_which_it_is():
    accounts = Accounts([Account("club"), SHOP])
    assert accounts.of_token(TEXT) == (SHOP, SHOP.tokens[0])
    assert RecordingMta(accounts=[SHOP]).accounts.of_token(TEXT) == (SHOP, SHOP.tokens[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mta_",
        ID,
        TEXT[:-1],
        f"{TEXT}A",
        f" {TEXT}",
        TEXT.upper(),
        TEXT.replace("mta_", "mtb_"),
        f"mta_{'a' * 12}_{'A' * 43}",
        f"mta_{ID}_{'A' * 43}",
        f"mta_{ID}_{'é' * 43}",
        f"mta_{'a' * 12}_{TEXT[-43:]}",
        "mta_" * 100_000,
    ],
)
def test_nothing_else_does(text):
    assert Accounts([SHOP]).of_token(text) is None


@given(st.text() | st.builds("mta_{}_{}".format, st.just(ID), st.text(max_size=50)))
def test_any_text_has_an_answer(text):
    assert Accounts([SHOP]).of_token(text) is None


def test_a_secret_may_hold_what_parts_a_token():
    secret = "_" * 42 + "-"
    assert taken_apart(f"mta_{ID}_{secret}") == (ID, secret)
    accounts = Accounts([Account("shop", tokens=(Token("odd", ID, hash_secret(secret)),))])
    assert accounts.of_token(f"mta_{ID}_{secret}") is not None


def test_no_two_tokens_and_no_two_hashes_of_one_secret_are_alike():
    tokens = [new_token() for _ in range(100)]
    assert [len({one[part] for one in tokens}) for part in range(3)] == [100, 100, 100]
    assert hash_secret("same") != hash_secret("same")
    assert all(text[-43:] not in hashed for text, _, hashed in tokens)


def test_an_id_that_nobody_has_is_asked_about_all_the_same(monkeypatch):
    asked = []
    monkeypatch.setattr("mtaframe.tokens.hmac.compare_digest", lambda one, other: bool(asked.append((one, other))))
    assert Accounts([SHOP]).of_token(f"mta_{'a' * 12}_{'A' * 43}") is None
    assert Accounts([SHOP]).of_token(f"mta_{ID}_{'A' * 43}") is None
    assert [len(one) for pair in asked for one in pair] == [32] * 4


def test_the_stand_in_for_nobody_proves_nothing():
    assert not is_proven("", None)


def test_what_a_token_prints_does_not_hold_it():
    assert "website" in repr(SHOP.tokens[0])
    assert ID not in repr(SHOP.tokens[0])
    assert HASH not in repr(SHOP.tokens[0])


@pytest.mark.parametrize("wrong", [lambda: TEXT, HASH.upper, lambda: HASH[:-1], lambda: f"{HASH}0", lambda: HASH[8:]])
def test_only_a_hash_is_taken_and_it_is_not_quoted(wrong):
    hashed = wrong()
    with pytest.raises(ValidationError, match="not the hash of a token") as error:
        TokenSettings(name="website", id=ID, hash=hashed)
    assert hashed not in str(error.value)


def test_names_are_unique_in_an_account_and_ids_everywhere():
    token = {"name": "website", "id": ID, "hash": HASH}
    settings = AccountsSettings.model_validate(
        {
            "account": [
                {"name": "shop", "token": [token, {**token, "id": "a" * 12}]},
                {"name": "club", "token": [token]},
            ]
        }
    )
    assert [(finding.path, finding.text) for finding in of_accounts(settings)] == [
        (("account", 1, "token", 0, "id"), "another token has this id already"),
        (("account", 0, "token", 1, "name"), 'another token of this account is named "website" already'),
    ]
