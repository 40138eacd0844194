"""The page for those who come from another service: each of its programs runs as it stands, and sends."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from mtaframe.testing import ScriptedMx
from tests.conftest import ROOT
from tests.end_to_end.api_server import api_server
from tests.plugins.api_house import TOKEN

PAGE = (ROOT / "docs" / "migrating.md").read_text().partition("## 2.")[2].partition("## 3.")[0]
PROGRAMS = dict(re.findall(r"(?s)### ([^\n]+)\n+(```(?:python|sh)\n.*?)```", PAGE))


def test_the_page_has_a_program_for_each() -> None:
    assert list(PROGRAMS) == ["MimePost", "SendGrid", "Postmark", "Resend", "Any language"]


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_of_the_page_sends(name: str, tmp_path: Path) -> None:
    kind, _, program = PROGRAMS[name].removeprefix("```").partition("\n")
    command = [sys.executable, "-c", program] if kind == "python" else ["sh", "-ec", program]
    async with ScriptedMx() as mx, api_server(tmp_path, mx) as server:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, "MTAFRAME_URL": server.url, "MTAFRAME_TOKEN": TOKEN},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, errors.decode()
        assert out.strip()
    [received] = mx.received
    assert received.recipients == ["joe@example.net"]
    assert b"[NAME]" not in received.raw
    assert b"DKIM-Signature: " in received.raw
