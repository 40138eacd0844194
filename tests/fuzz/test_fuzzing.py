"""The tool itself."""

import importlib.util

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.minimise import minimised


def test_a_finding_becomes_as_small_as_it_can_be() -> None:
    def check(octets: bytes) -> None:
        assert not (b"<" in octets and b">>" in octets)
        if b"\0" in octets:
            raise ValueError

    assert minimised(check, b"a long beginning < of it, and <> the end>> is long, too") == b"<>>"
    assert minimised(check, b"fine") == b""


def test_without_atheris_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert ".[fuzz]" in said
