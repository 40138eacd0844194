"""An account from its first to its last mail: made by the command line while two workers carry mail, used, stopped."""

import asyncio
import json
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.end_to_end.chain import PROGRAM, Mtaframe
from tests.end_to_end.postfix import free_port

SETTINGS = """
workers = 2
plugins = ["usage", "admission", "thresholds"]
[state]
backend = "memory"
[clients]
auth_failures = 1000
[route]
next_hop = "127.0.0.1"
port = {hop}
tls = "off"
[[listener]]
name = "submission"
kind = "application"
addresses = ["{endpoint}"]
auth_without_tls = true
"""
NOT_PROVEN = "535 5.7.8 user name or password not accepted"
GROUP = """\
# The customers.
[[account]]
name = "group"
per_hour = 8
"""


class House:
    """The server, its configuration, and the command line beside it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    async def run(self, *arguments: str) -> Any:
        """What a command prints, in plain data."""
        command = (*PROGRAM, *arguments, "--conf", str(self.folder), "--json")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0, arguments
        return json.loads(output)

    async def send(self, user: str, password: str, sender: str = "news@club.example", count: int = 1) -> int | str:
        """The code that a program gets for a message to so many recipients: of AUTH, of a recipient, or of the dot."""
        return await asyncio.to_thread(self._send, user, password, sender, count)

    def _send(self, user: str, password: str, sender: str, count: int) -> int | str:
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            try:
                client.login(user, password)
                to = [f"r{number}@example.net" for number in range(count)]
                client.sendmail("bounces@club.example", to, f"From: {sender}\r\nSubject: hello\r\n\r\nHello\r\n")
            except smtplib.SMTPRecipientsRefused as error:
                return _said(*next(iter(error.recipients.values())))
            except smtplib.SMTPResponseException as error:
                return _said(error.smtp_code, error.smtp_error)
        return 250

    async def until(self, code: int, user: str, password: str) -> int | str:
        """The last answer, once it is this code, or after five seconds."""
        answer: int | str = ""
        for _ in range(50):
            answer = await self.send(user, password)
            if str(answer).startswith(str(code)):
                break
            await asyncio.sleep(0.1)
        return answer


def _said(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode() if isinstance(text, bytes) else text}"


@asynccontextmanager
async def house(folder: Path, mx: ScriptedMx) -> AsyncIterator[House]:
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    conf = folder / "conf"
    conf.mkdir()
    (conf / "accounts.toml").write_text(GROUP)
    async with Mtaframe(conf, SETTINGS.format(hop=mx.port, endpoint=endpoint)):
        yield House(conf, endpoint.port)


async def test_an_account_from_its_first_to_its_last_mail(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, house(tmp_path, mx) as here:
        assert await here.send("club", "nothing yet") == NOT_PROVEN
        made = await here.run(
            "account", "add", "club", "--parent", "group", "--domain", "club.example", "--user", "club"
        )
        assert await here.until(250, "club", made["password"]) == 250
        sent = len(mx.received)
        assert await here.send("club", made["password"], count=3) == 250
        refused = await here.send("club", made["password"], sender="boss@bank.example")
        assert str(refused).startswith("550 5.7.1 this account may not send from that From domain")

        await here.run("account", "suspend", "group")
        refused = await here.until(550, "club", made["password"])
        assert str(refused).startswith("550 5.7.1 this account is suspended; ask the operator")
        await here.run("account", "resume", "group")
        assert await here.until(250, "club", made["password"]) == 250

        delivered = sum(len(mail.recipients) for mail in mx.received)
        assert delivered >= sent + 4
        await asyncio.sleep(0.2)  # what one worker counts the others know within a tenth of a second
        [club, group] = await here.run("usage")
        assert (club["account"], club["charged"], club["delivered"]) == ("club", delivered, delivered)
        assert club["request"] == delivered + 1, "the message from another domain came as far as this"
        assert (group["account"], group["of"], group["charged"]) == ("group", "family", delivered)
        [_, listed] = await here.run("account", "list")
        assert listed["last"] is not None

        while await here.send("club", made["password"]) == 250:
            delivered += 1
        assert delivered == 7, "the group shares 8 an hour, and the recipient of the other domain's message was one"

        await here.run("account", "close", "club")
        assert await here.until(535, "club", made["password"]) == NOT_PROVEN
