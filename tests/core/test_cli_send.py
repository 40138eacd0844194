"""``mtaframe send`` to servers that are not ours: what they refuse is shown in their words, in one line."""

import asyncio
import json

from click.testing import CliRunner, Result

from mtaframe.cli import main
from mtaframe.testing import ScriptedMx


async def sent(mx: ScriptedMx, *arguments: str, to: str = "bob@example.net") -> Result:
    server = ("--server", f"127.0.0.1:{mx.port}")
    return await asyncio.to_thread(
        CliRunner().invoke, main, ["send", *server, "--from", "alice@example.com", "--to", to, *arguments]
    )


async def test_a_refusal_of_data_is_a_reply_like_any_other() -> None:
    """It was "does not take mail: (554, b'5.7.1 no')", without a word of what came before."""
    async with ScriptedMx() as mx:
        mx.script("data", "554 5.7.1 no", always=True)
        result = await sent(mx)
        told = json.loads((await sent(mx, "--json")).stdout)
    assert result.exit_code == 1
    assert result.stdout.endswith("RCPT TO:<bob@example.net>: 250 2.1.5 ok\nDATA: 554 5.7.1 no\n")
    assert "the message was refused: 554 to DATA" in result.stderr
    assert told["accepted"] is False
    assert told["replies"][-1] == {"command": "DATA", "code": 554, "text": "5.7.1 no"}


async def test_a_server_without_smtputf8_gets_no_address_that_needs_it() -> None:
    async with ScriptedMx(extensions=()) as mx:
        result = await sent(mx, to="b\u00fcb@example.net")
    assert result.exit_code == 1
    assert "does not offer SMTPUTF8" in result.stderr
    assert not mx.messages
