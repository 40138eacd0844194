"""accounts.toml is changed where it must be, and stays as it is everywhere else."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.cli.account_text import line_of, with_account, with_key, with_table
from tests.conftest import ROOT

TEXT = """# Head

[[account]]   # first
name = "group" # the master
domains = [
  "example.com", # one
  ".example.com",
]

# about the token
[[account.token]]
name = "website"   # tok
hash = 'h'

# Shop: what stands before it is its own
[[account]]
  name = "shop"
  status = "pending"   # since Monday
  parent = "group"
# the last word"""
TOKEN = {"name": "other", "id": "i", "hash": "new"}


def added(before: str, after: str) -> list[str]:
    """The lines that are new; all the others are there in their order."""
    old = iter(before.split("\n"))
    new = []
    expected = next(old, None)
    for line in after.split("\n"):
        if line == expected:
            expected = next(old, None)
        else:
            new.append(line)
    assert expected in (None, ""), f"a line is gone or moved: {expected}"
    return new


def test_a_status_stands_below_the_name() -> None:
    after = with_key(TEXT, ("account", 0, "status"), "suspended")
    assert added(TEXT, after) == ['status = "suspended"']
    assert line_of(after, ("account", 0, "status")) == 5


def test_a_status_is_replaced_and_its_remark_stays() -> None:
    after = with_key(TEXT, ("account", 1, "status"), "approved")
    assert after == TEXT.replace('"pending"   # since', '"approved"   # since')


def test_a_value_in_other_quotation_marks_is_replaced_too() -> None:
    assert with_key(TEXT, ("account", 0, "token", 0, "hash"), "new") == TEXT.replace("'h'", '"new"')


def test_a_token_stands_behind_all_of_its_account_and_before_the_next_ones_remarks() -> None:
    after = with_table(TEXT, 0, "token", TOKEN)
    assert added(TEXT, after) == ["[[account.token]]", 'name = "other"', 'id = "i"', 'hash = "new"', ""]
    assert after.index('hash = "new"') < after.index("# Shop")
    last = with_table(TEXT, 1, "token", TOKEN)
    assert tomllib.loads(last)["account"][1]["token"] == [TOKEN]
    assert last.endswith("# the last word")


def test_an_account_stands_behind_the_others() -> None:
    after = with_account(TEXT, {"name": "club", "domains": ["club.example"], "quota": 5}, {"token": TOKEN})
    assert after.startswith(f"{TEXT}\n\n[[account]]\nname = ")
    assert tomllib.loads(after)["account"][2] == {
        "name": "club",
        "domains": ["club.example"],
        "quota": 5,
        "token": [TOKEN],
    }
    assert with_account("", {"name": "club"}, {}) == '\n[[account]]\nname = "club"\n'


def test_the_shipped_file_has_only_remarks_and_keeps_them() -> None:
    shipped = (ROOT / "conf" / "accounts.toml").read_text()
    after = with_account(shipped, {"name": "club"}, {})
    assert after.startswith(shipped)
    assert tomllib.loads(after) == {"account": [{"name": "club"}]}


def test_line_ends_of_another_system_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = with_key(text, ("account", 0, "status"), "closed")
    assert after.replace('status = "closed"\r\n', "") == text


@pytest.mark.parametrize(
    "text",
    [
        'account = [{ name = "group" }]',
        'account = [\n  { name = "group" },\n]\n',
        "account = []",
        '[[account]]\nstatus = """approved"""\nname = "group"\n',
        "[[account]]\n",
        '[account]\nname = "group"\n',
    ],
)
def test_what_is_written_otherwise_is_left_to_people(text: str) -> None:
    with pytest.raises(ValueError, match="only a person can change"):
        with_key(text, ("account", 0, "status"), "closed")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.lists(st.text(max_size=5), max_size=3))
def test_any_name_is_written_so_that_it_is_read_again_or_refused(user: str, domains: list[str]) -> None:
    try:
        after = with_account(TEXT, {"name": "club", "domains": domains}, {"credential": {"user": user}})
    except (ValueError, UnicodeError):
        return
    assert tomllib.loads(after)["account"][2]["credential"] == [{"user": user}]
