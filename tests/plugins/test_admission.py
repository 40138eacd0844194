"""Who may send what: statuses, From domains, sandbox addresses and quotas, asked of the plugin alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from mtaframe import (
    Account,
    Defer,
    MonthlyUsage,
    OwnDomain,
    Reject,
    SandboxAddress,
    Status,
    author_domains,
)
from mtaframe.testing import RecordingMta, VirtualClock, account, envelope, message, recipient, session
from mtaframe_plugins.admission import CLOSED, NO_FROM, NOT_OWN, PENDING, SUSPENDED, Admission

OWN = frozenset({"example.com", ".below.example"})
NONE: frozenset[str] = frozenset()


class Gate:
    """The plugin beside one that answers for the HTTP API, and one that counts."""

    def __init__(self, *accounts: Account, used: dict[tuple[str, bool], int] | None = None, **config: Any) -> None:
        async def own_domain(question: OwnDomain) -> bool:
            return (question.account, question.domain) in {("shop", "proven.example"), ("group", "parents.example")}

        async def sandbox_address(question: SandboxAddress) -> bool:
            return (question.account, question.address.mailbox) == ("shop", "me@sandbox.example")

        async def usage(question: MonthlyUsage) -> int:
            return (used or {}).get((question.account, question.with_sub_accounts), 0)

        self.mta = RecordingMta(
            clock=VirtualClock(),
            accounts=accounts or [account("shop", domains=OWN)],
            answers={OwnDomain: own_domain, SandboxAddress: sandbox_address, MonthlyUsage: usage},
        )
        self.plugin = Admission(Admission.Config.model_validate(config), self.mta)

    async def rcpt(
        self, to: str = "bob@example.net", name: str | None = "shop", **changes: Any
    ) -> Reject | Defer | None:
        return await self.plugin.on_rcpt(envelope([], account=name, **changes), recipient(to))

    async def dot(
        self,
        sender: str | None = "alice@example.com",
        to: Sequence[str] = ("bob@example.net",),
        name: str | None = "shop",
        **changes: Any,
    ) -> Reject | Defer | None:
        mail = message(fields={"From": sender})
        return await self.plugin.on_data(envelope(to, account=name, **changes), mail)


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (Status.APPROVED, None),
        (Status.LIMITED, None),
        (Status.PENDING, PENDING),
        (Status.SUSPENDED, SUSPENDED),
        (Status.CLOSED, CLOSED),
    ],
)
@pytest.mark.parametrize("above", [False, True])
async def test_a_status_holds_at_rcpt_and_at_the_dot_and_for_who_is_below(
    status: Status, refusal: Reject | None, above: bool
) -> None:
    group = account("group", status=status if above else Status.APPROVED)
    gate = Gate(group, account("shop", parent="group", status=Status.APPROVED if above else status))
    assert (await gate.rcpt(), await gate.dot()) == (refusal, refusal)


async def test_mail_without_an_account_and_reports_pass() -> None:
    gate = Gate(account("shop", status=Status.SUSPENDED))
    report = session(protocol="DSN")
    assert await gate.rcpt(name=None) is None
    assert await gate.dot("eve@evil.example", name=None) is None
    assert await gate.rcpt(session=report) is None
    assert await gate.dot(None, session=report) is None


async def test_the_null_reverse_path_is_no_excuse() -> None:
    assert await Gate().dot("eve@evil.example", reverse_path=None) == NOT_OWN


async def test_before_approval_only_sandbox_addresses_from_any_author() -> None:
    gate = Gate(account("shop", status=Status.PENDING))
    mine, others = "me@sandbox.example", "bob@example.net"
    assert await gate.rcpt(mine) is None
    assert await gate.rcpt(others) == PENDING
    assert await gate.dot("new@unproven.example", [mine]) is None
    assert await gate.dot("new@unproven.example", [mine, others]) == PENDING


@pytest.mark.parametrize(
    ("sender", "refusal"),
    [
        ("alice@example.com", None),
        ("Alice <alice@EXAMPLE.com>", None),
        ("alice@a.b.below.example", None),
        ("alice@below.example", NOT_OWN),
        ("alice@www.example.com", NOT_OWN),
        ("alice@proven.example", None),
        ("alice@proven.example, bob@example.com", None),
        ("alice@example.com, eve@evil.example", NOT_OWN),
        ("alice@example.com <eve@evil.example>", NOT_OWN),
        ('"alice@example.com" <eve@evil.example>', NOT_OWN),
        ("eve@evil.example", NOT_OWN),
        ("alice@com", NOT_OWN),
        ("alice@[example.com]", NOT_OWN),
        ("alice", NO_FROM),
        ("", NO_FROM),
        (None, NO_FROM),
        (",".join(f"a@{number}.below.example" for number in range(20)), NO_FROM),
    ],
)
async def test_every_author_is_of_a_domain_of_the_account(sender: str | None, refusal: Reject | None) -> None:
    assert await Gate().dot(sender) == refusal


async def test_two_from_fields_are_two_authors() -> None:
    mail = message(fields={"From": "alice@example.com"}).prepend("From", "eve@evil.example")
    assert author_domains(mail) == {"example.com", "evil.example"}
    assert await Gate().plugin.on_data(envelope(account="shop"), mail) == NOT_OWN


async def test_a_domain_that_is_not_ascii_is_written_in_its_xn_form() -> None:
    gate = Gate(account("shop", domains=frozenset({"xn--mller-kva.example"})))
    assert await gate.dot("a@müller.example") is None


async def test_a_sandbox_address_gets_any_from_domain() -> None:
    gate = Gate()
    assert await gate.dot("eve@evil.example", ["me@sandbox.example"]) is None
    assert await gate.dot("eve@evil.example", ["me@sandbox.example", "bob@example.net"]) == NOT_OWN


async def test_who_has_no_domains_has_those_of_the_nearest_above() -> None:
    tree = [
        account("top", domains=frozenset({"top.example"})),
        account("group", parent="top", domains=frozenset({"group.example"})),
        account("shop", parent="group", domains=NONE),
        account("club", parent="group", domains=frozenset({"club.example"})),
    ]
    gate = Gate(*tree)
    assert await gate.dot("a@group.example") is None
    assert await gate.dot("a@parents.example") is None, "proven by the parent"
    assert await gate.dot("a@proven.example") is None
    assert await gate.dot("a@top.example") == NOT_OWN
    assert await gate.dot("a@club.example", name="club") is None
    assert await gate.dot("a@group.example", name="club") == NOT_OWN
    assert await gate.dot("a@parents.example", name="club") == NOT_OWN


async def test_without_any_domain_nothing_may_go_out() -> None:
    assert await Gate(account("other", domains=NONE)).dot(name="other") == NOT_OWN


async def test_any_domain_where_the_operator_says_so() -> None:
    gate = Gate(from_domains="any")
    assert (await gate.dot("eve@evil.example"), await gate.dot(None)) == (None, None)


async def test_a_quota_is_not_passed_and_says_when_it_begins_again() -> None:
    gate = Gate(account("shop", quota=10), used={("shop", False): 8})
    used_up = Defer("the quota of this month is used up; it begins again on 2026-04-01", "4.7.0", 452)
    two, three = ["a@example.net", "b@example.net"], ["a@example.net", "b@example.net", "c@example.net"]
    assert (await gate.dot(to=two), await gate.dot(to=three)) == (None, used_up)
    joined = envelope(two, account="shop")
    assert await gate.plugin.on_rcpt(joined, recipient("c@example.net")) == used_up
    gate.mta.clock = VirtualClock(datetime(2026, 12, 31, 23, tzinfo=UTC))
    assert (await gate.dot(to=three)) == Defer(used_up.text.replace("2026-04", "2027-01"), "4.7.0", 452)


@pytest.mark.parametrize(
    ("limits", "used", "is_refused"),
    [
        ("shared", {("shop", False): 10}, False),
        ("shared", {("group", True): 10}, True),
        ("split", {("group", True): 10}, False),
        ("split", {("shop", False): 10}, True),
    ],
)
async def test_a_quota_is_shared_or_split(limits: Any, used: dict[tuple[str, bool], int], is_refused: bool) -> None:
    group = account("group", quota=10, limits=limits)
    gate = Gate(group, account("shop", parent="group"), used=used)
    assert isinstance(await gate.rcpt(), Defer) is is_refused


async def test_nothing_is_asked_for_an_approved_account_that_writes_its_own_domain() -> None:
    gate = Gate()
    assert (await gate.rcpt(), await gate.dot()) == (None, None)
    assert gate.mta.questions == []


def test_a_refusal_names_nobody() -> None:
    for refusal in (CLOSED, NO_FROM, NOT_OWN, PENDING, SUSPENDED):
        assert (refusal.reply.code, refusal.reply.status) == (550, "5.7.1")
        assert "shop" not in refusal.text
