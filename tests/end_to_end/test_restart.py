"""mtaframe restarts, and dies, under the load of a Postfix: nothing is lost, and Postfix does not turn away from it."""

import asyncio
import smtplib
from collections import Counter
from pathlib import Path

import pytest

from mtaframe.cli.postfix_files import additions
from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.end_to_end.chain import Mtaframe
from tests.end_to_end.conftest import StartPostfix
from tests.end_to_end.postfix import Postfix, free_port
from tests.end_to_end.test_chains import behind, postfix_before

ROUNDS = 2
EACH = 100
"""Messages that Postfix is given in each round; mtaframe ends when the first of them have arrived."""


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
@pytest.mark.parametrize("by", ["lmtp", "smtp"])
async def test_postfix_goes_on_as_soon_as_mtaframe_is_back(
    start_postfix: StartPostfix, tmp_path: Path, by: str, kill: bool
) -> None:
    """With Postfix's defaults instead of the snippet the log has "delivery temporarily suspended" hundreds of times."""
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    async with ScriptedMx() as mx:
        mx.script("dot", None, always=True, delay=0.1)
        settings = behind(mx, endpoint) if by == "lmtp" else behind(mx, endpoint).replace('"lmtp"', '"mta"')
        async with Mtaframe(tmp_path / "conf", settings) as mta:
            postfix = await (postfix_before if by == "lmtp" else by_smtp)(start_postfix, endpoint, back_off=2)
            for number in range(ROUNDS):
                await end_under_load(mx, mta, postfix, recipients(number), kill=kill)
                await mta.start()
            await postfix.emptied(within=60)
    copies = Counter(to for received in mx.received for to in received.recipients)
    everyone = {to for number in range(ROUNDS) for to in recipients(number)}
    assert set(copies) == everyone
    assert kill or copies.total() == len(everyone), "what ends in order sends nothing twice"
    assert "delivery temporarily suspended" not in postfix.log()


async def end_under_load(mx: ScriptedMx, mta: Mtaframe, postfix: Postfix, to: list[str], *, kill: bool) -> None:
    """Give Postfix a round, end mtaframe in its middle, and wait until Postfix has been refused many times."""
    enough, refused = mx.messages + EACH // 10, postfix.log().count("Connection refused")
    injection = asyncio.create_task(asyncio.to_thread(inject, postfix.port, to))
    await mx.until(lambda: mx.messages > enough, timeout=30)
    await mta.stop(kill=kill)
    await injection
    await postfix.logged("Connection refused", times=refused + EACH // 10)


async def by_smtp(start_postfix: StartPostfix, endpoint: Endpoint, back_off: int) -> Postfix:
    """The same lines for the SMTP client."""
    added = additions("behind", endpoint)
    lines = (line.partition(" = ") for line in added.main.splitlines() if not line.startswith("#"))
    main = {key: value for key, _, value in lines}
    main["default_transport"] = f"mtaframe:[{endpoint.host}]:{endpoint.port}"
    master = added.master.replace("lmtp", "smtp").replace("_lhlo_", "_helo_")
    return await start_postfix(main=main, master=master, back_off=back_off)


def recipients(number: int) -> list[str]:
    return [f"user-{number}-{index}@example.com" for index in range(EACH)]


def inject(port: int, to: list[str]) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for recipient in to:
            text = f"From: a@sender.example\r\nMessage-ID: <{recipient}>\r\nSubject: hello\r\n\r\nbody\r\n"
            client.sendmail("a@sender.example", [recipient], text)
