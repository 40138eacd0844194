"""xtext: what parameters carry comes back as it was, and nothing else is taken for it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.xtext import decoded, encoded


@given(st.text(st.characters(max_codepoint=127)))
def test_any_ascii_text_comes_back_and_fits_into_a_parameter(text: str) -> None:
    assert decoded(encoded(text)) == text
    assert re.fullmatch(r"[!-<>-~]*", encoded(text))


def test_only_what_must_be_is_escaped() -> None:
    assert encoded("Bob+news@Example.NET a=b") == "Bob+2Bnews@Example.NET+20a+3Db"


@pytest.mark.parametrize("text", ["+", "a+2", "+2b", "+GG", "a b", "a=b", "\xfc", "\n"])
def test_what_is_not_xtext_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="xtext"):
        decoded(text)
