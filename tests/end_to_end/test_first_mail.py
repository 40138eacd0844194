"""A newcomer's first mail: by swaks into the sandbox, where it is octet for octet what an MX gets, and well signed."""

import asyncio
from pathlib import Path

from mtaframe import Message
from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.conftest import Program
from tests.end_to_end.chain import PROGRAM, Mtaframe
from tests.end_to_end.postfix import free_port
from tests.plugins.dkim_oracle import dkimpy_accepts, ed25519_key, rsa_key

SETTINGS = """
plugins = ["merge_tags", "dkim", "smart_host", "sandbox"]
[route]
transport = "sandbox"
[[listener]]
name = "submission"
kind = "application"
addresses = ["{endpoint}"]
trusted = ["127.0.0.0/8"]
"""
SMART_HOST = """
[[host]]
name = "mx"
next_hop = "127.0.0.1"
port = {port}
tls = "off"
domains = ["example.net"]
"""
BODY = "Hello [NAME]\\n.\\n..a line with dots  \\n and blanks \\n"


async def output(*command: str | Path) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said


async def test_the_sandbox_holds_what_an_mx_gets(program: Program, tmp_path: Path) -> None:
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    conf = tmp_path / "conf"
    conf.mkdir()
    keys = [rsa_key(conf / "rsa.pem"), ed25519_key(conf / "ed.pem")]
    tables = (f'[[key]]\ndomain = "example.com"\nselector = "{k.path.stem}"\nfile = "{k.path.name}"\n' for k in keys)
    (conf / "dkim.toml").write_text("".join(tables))
    async with ScriptedMx() as mx:
        (conf / "smart_host.toml").write_text(SMART_HOST.format(port=mx.port))
        async with Mtaframe(conf, SETTINGS.format(endpoint=endpoint)):
            said = await output(
                *(program("swaks"), "--server", endpoint, "--from", "alice@example.com", "--body", BODY),
                *("--to", "bob@example.org,carol@example.net"),
            )
            assert b"250 2.0.0 delivered to 2 recipients" in said or b"kept in the sandbox, NOT delivered" in said
            show = (*PROGRAM, "sandbox", "show", "1", "--raw", "--conf", conf)
            kept = await output(*show)
    [received] = mx.received
    assert kept == received.raw
    assert b"\r\n.\r\n..a line with dots  \r\n and blanks \r\n" in kept
    dns = {f"{key.path.stem}._domainkey.example.com": key.record for key in keys}
    message = Message.parse(kept)
    assert len(message.all("DKIM-Signature")) == 2
    assert dkimpy_accepts(message, 0, dns)
    assert dkimpy_accepts(message, 1, dns)
