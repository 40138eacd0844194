"""The whole mission on one message: AUTH, filter, personalise, route by pool, sign, deliver, report. All for real."""

import asyncio
import json
import smtplib
from collections import Counter
from pathlib import Path

from mtaframe import Message
from mtaframe.accounts import hash_password
from mtaframe.notation import Endpoint
from mtaframe.testing import ScriptedMx
from tests.conftest import Program
from tests.end_to_end.chain import PROGRAM, Mtaframe
from tests.end_to_end.postfix import free_port
from tests.end_to_end.rspamd import GTUBE, Rspamd
from tests.end_to_end.test_first_mail import output
from tests.plugins.dkim_oracle import dkimpy_accepts, rsa_key
from tests.plugins.webhooks_receiver import SECRET, TOKEN, Receiver, until

SETTINGS = """
hostname = "mta.example.org"
plugins = ["thresholds", "merge_tags", "spam_filter", "dkim", "ip_pools", "smart_host", "webhooks"]
[route]
next_hop = "127.0.0.1"
port = {port}
tls = "off"
[[listener]]
name = "submission"
kind = "application"
addresses = ["{endpoint}"]
auth_without_tls = true
"""
ACCOUNTS = """
[[account]]
name = "shop"
domains = ["example.com"]
[[account.credential]]
user = "shop"
hash = "{hash}"
"""
POOLS = """
default_pool = "shared"
[[source]]
name = "one"
address = "127.0.3.1"
ehlo = "one.example.org"
[[source]]
name = "two"
address = "127.0.3.2"
ehlo = "two.example.org"
[[pool]]
name = "shared"
sources = ["one"]
[[pool]]
name = "shop"
sources = ["two"]
[[rule]]
pool = "shop"
accounts = ["shop"]
"""
WEBHOOKS = """
[[endpoint]]
url = "{url}"
secret = "{secret}"
token = "{token}"
accounts = ["shop"]
private = true
"""
BOB, CAROL, EVE = "bob@example.net", "carol@example.net", "eve@example.net"
VALUES = {BOB: {"NAME": "Bob"}, CAROL: {"NAME": "Carol"}, EVE: {"NAME": f"Eve {GTUBE}"}}
MAIL = f"""\
From: Shop <news@example.com>
To: you@example.net
Subject: Hello [NAME]
Date: Mon, 23 Nov 2026 08:00:00 +0000
Message-ID: <1@example.com>
X-Merge-Vars: {json.dumps(VALUES)}

Dear [NAME], welcome.
"""


def configured(conf: Path, receiver: Receiver, rspamd: Rspamd) -> dict[str, str]:
    """Writes all files but mtaframe.toml; the TXT records of the key."""
    conf.mkdir()
    key = rsa_key(conf / "s1.pem")
    files = {
        "accounts": ACCOUNTS.format(hash=hash_password("correct horse")),
        "dkim": '[[key]]\ndomain = "example.com"\nselector = "s1"\nfile = "s1.pem"\n',
        "ip_pools": POOLS,
        "spam_filter": f'url = "{rspamd.url}"\n',
        "webhooks": WEBHOOKS.format(url=receiver.url, secret=SECRET, token=TOKEN),
    }
    for name, text in files.items():
        (conf / f"{name}.toml").write_text(text)
    return {"s1._domainkey.example.com": key.record}


def submitted(endpoint: Endpoint) -> tuple[int, bytes]:
    """One message to three recipients, with AUTH; the reply to the final dot."""
    with smtplib.SMTP(endpoint.host, endpoint.port) as client:
        client.login("shop", "correct horse")
        client.mail("news@example.com")
        for mailbox in VALUES:
            assert client.rcpt(mailbox)[0] == 250
        return client.data(MAIL)


async def test_one_message_takes_the_whole_way(program: Program, tmp_path: Path) -> None:
    endpoint = Endpoint(f"127.0.0.1:{free_port()}")
    conf = tmp_path / "conf"
    (tmp_path / "rspamd").mkdir()
    with Rspamd(tmp_path / "rspamd", program("rspamd")) as rspamd:
        async with ScriptedMx() as mx, Receiver() as receiver:
            dns = configured(conf, receiver, rspamd)
            async with Mtaframe(conf, SETTINGS.format(port=mx.port, endpoint=endpoint)) as mta:
                code, said = await asyncio.to_thread(submitted, endpoint)
                assert code == 250, said
                kinds = {"request": 3, "delivered": 2, "block_hard": 1}
                await until(lambda: Counter(e["event"] for e in receiver.taken if e["to_email"] in VALUES) == kinds)
                await explained(conf, tmp_path)
    copies = {one: received for received in mx.received for one in received.recipients}
    assert sorted(copies) == [BOB, CAROL, "news@example.com"], "Eve's copy was refused, and her sender told"
    for mailbox in (BOB, CAROL):
        received = copies[mailbox]
        name = VALUES[mailbox]["NAME"]
        assert f"Subject: Hello {name}\r\n".encode() in received.raw
        assert f"Dear {name}, welcome.".encode() in received.raw
        assert b"GTUBE" not in received.raw
        assert b"X-Merge-Vars" not in received.raw
        assert (received.client, received.ehlo) == ("127.0.3.2", "two.example.org")
        assert dkimpy_accepts(Message.parse(received.raw), 0, dns)
    assert b"Final-Recipient: rfc822; eve@example.net" in copies["news@example.com"].raw
    assert receiver.unproven == 0
    assert {headers["x-secret-token"] for headers in receiver.headers} == {TOKEN}
    [blocked] = [event for event in receiver.taken if event["event"] == "block_hard"]
    assert blocked["to_email"] == EVE
    assert "Traceback" not in mta.log
    assert not any(private in mta.log for private in ("bob", "carol", "eve@", "Hello", "GTUBE"))


async def explained(conf: Path, folder: Path) -> None:
    """``mtaframe explain`` shows all of them at work."""
    (folder / "mail.eml").write_text(MAIL)
    arguments = ("--from", "news@example.com", "--to", BOB, "--account", "shop", "--conf", conf)
    shown = (await output(*PROGRAM, "explain", folder / "mail.eml", *arguments)).decode()
    for plugin in ("thresholds", "merge_tags", "spam_filter", "dkim", "ip_pools", "webhooks"):
        assert plugin in shown, shown
    assert "two" in shown, "the source of the route"
    assert "DKIM-Signature" in shown
