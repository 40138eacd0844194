from typing import Any

import pytest
from pydantic import ValidationError

from mtaframe import Credentials, Limits, Outcome, Route, Tls
from mtaframe.clock import SystemClock
from mtaframe.lifecycle import Attempt
from mtaframe.settings import DeliverySettings
from mtaframe.smtp_client import SmtpClient
from mtaframe.testing import RecordingMta, ScriptedMx, account, delivery, envelope, route
from mtaframe_plugins.smart_host import SmartHost


def plugin(*hosts: dict[str, Any]) -> SmartHost:
    mta = RecordingMta(accounts=[account("shop")])
    return SmartHost(SmartHost.Config.model_validate({"host": hosts}), mta)


def host(name: str = "relay", **keys: Any) -> dict[str, Any]:
    return {"name": name, "next_hop": f"{name}.example.com"} | keys


def next_hop(smart_host: SmartHost, to: str = "bob@example.net", **envelope_changes: Any) -> str | None:
    chosen = smart_host.route(delivery(to, envelope=envelope([to], **envelope_changes)), route())
    return chosen.next_hop if chosen else None


def test_without_hosts_the_route_stays() -> None:
    assert plugin().route(delivery(), route()) is None


def test_a_host_changes_all_of_the_way_but_not_who_we_are() -> None:
    keys = {
        "port": 587,
        "tls": "verified",
        "user": "me",
        "password": "secret",
        "ca_file": "/ca.pem",
        "connections": 3,
        "transport": "smtp",
    }
    before = Route(pool="bulk", transport="sandbox", limits=Limits(20, 50))
    assert plugin(host(**keys)).route(delivery(), before) == Route(
        next_hop="relay.example.com",
        port=587,
        transport="smtp",
        pool="bulk",
        tls=Tls.VERIFIED,
        credentials=Credentials("me", "secret"),
        ca_file="/ca.pem",
        limits=Limits(3, 50),
    )


@pytest.mark.parametrize(
    ("domains", "domain", "fits"),
    [
        (["example.net"], "example.net", True),
        (["Example.NET"], "example.net", True),
        (["example.net"], "mail.example.net", False),
        ([".example.net"], "mail.example.net", True),
        (["*.example.net"], "a.mail.example.net", True),
        ([".example.net"], "example.net", False),
        ([".example.net"], "badexample.net", False),
        (["example.org", "example.net"], "example.net", True),
        (["xn--bcher-kva.example"], "bücher.example", True),
    ],
)
def test_recipient_domains(domains: list[str], domain: str, fits: bool) -> None:
    assert (next_hop(plugin(host(domains=domains)), f"bob@{domain}") is not None) == fits


def test_the_first_host_whose_conditions_all_hold_gets_the_mail() -> None:
    smart_host = plugin(
        host("first", domains=["example.net"], accounts=["shop"]),
        host("second", streams=["receipts"]),
        host("last"),
    )
    assert next_hop(smart_host, account="shop") == "first.example.com"
    assert next_hop(smart_host, "bob@example.org", account="shop", stream="receipts") == "second.example.com"
    assert next_hop(smart_host, account="other") == "last.example.com"
    assert next_hop(smart_host) == "last.example.com"


@pytest.mark.parametrize(
    ("hosts", "fault"),
    [
        ([host(user="me")], '"user" and "password" go together'),
        ([host(), host(domains=["example.net"])], "has no conditions"),
        ([host(domains=["example.net"]), host()], "two hosts are named"),
        ([host(domains=["*"])], "a domain is written as"),
        ([host(nexthop="x")], "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(hosts: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        plugin(*hosts)


async def test_an_account_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match='there is no account "shpo"'):
        await plugin(host(accounts=["shpo"])).start()
    await plugin(host(accounts=["shop"])).start()


def test_the_password_does_not_print() -> None:
    smart_host = plugin(host(user="me", password="canary"))
    assert "canary" not in repr(smart_host.config)
    assert "canary" not in repr(smart_host.route(delivery(), route()))


async def test_mail_arrives_there_with_the_credentials() -> None:
    async with ScriptedMx(credentials={"me": "secret"}) as mx:
        smart_host = plugin(host(next_hop=mx.host, port=mx.port, user="me", password="secret"))
        way = smart_host.route(delivery(), route())
        assert way is not None
        client = SmtpClient("mta.example.com", smart_host.mta.resolver, SystemClock(), DeliverySettings())
        (result,) = await client.deliver([delivery()], way, Attempt(SystemClock().monotonic() + 5))
        await client.close()
    assert result.outcome is Outcome.DELIVERED
    assert mx.received[0].user == "me"
