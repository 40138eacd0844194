"""Mail that a program hands in: told as it ends, known again when it comes again, held where nobody waits."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mtaframe import Defer, Delivery, Identity, Message, Outcome, Plugin, Reject, Result, hookimpl
from mtaframe.testing import DROP, ScriptedMx, envelope, message, session
from tests.core.keeping import BOB, CAROL, DAVE, Ears, ears, house, to

KEPT = Identity(b"order 7", is_kept=True)
BODY = Identity(b"body")


@pytest.fixture
async def mx() -> AsyncIterator[ScriptedMx]:
    async with ScriptedMx() as scripted:
        yield scripted


async def until(condition):  # type: ignore[no-untyped-def]
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def outcomes(results: "list[Result]") -> list[Outcome]:
    return [result.outcome for result in results]


async def test_each_result_is_told_as_soon_as_it_is_known(mx: ScriptedMx, tmp_path: Path) -> None:
    mx.script("dot", delay=0.3)
    mx.script("rcpt", "550 5.1.1 no such user", to=CAROL)
    told: list[tuple[int, Outcome]] = []
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        three = envelope([BOB, DAVE, CAROL])
        results = await ears(mta).mta.submit(
            session(), three, message(), told=lambda place, result: told.append((place, result.outcome))
        )
    assert sorted(told) == [(0, Outcome.DELIVERED), (1, Outcome.DELIVERED), (2, Outcome.FAILED)]
    assert outcomes(results) == [Outcome.DELIVERED, Outcome.DELIVERED, Outcome.FAILED]


async def test_what_has_not_ended_by_the_deadline_is_deferred_and_goes_on(mx: ScriptedMx, tmp_path: Path) -> None:
    mx.script("dot", delay=0.5)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        facade = ears(mta).mta
        soon = facade.clock.monotonic() + 0.2
        [result] = await facade.submit(session(), envelope([BOB]), message(), deadline=soon, identity=KEPT)
        assert (result.outcome, result.in_doubt) == (Outcome.DEFERRED, True)
        [again] = await facade.submit(session(), envelope([BOB]), message(body="other"), identity=KEPT)
        assert again.outcome is Outcome.DELIVERED
    assert to(mx) == [BOB]


async def test_under_a_kept_identity_what_is_final_is_never_tried_again(mx: ScriptedMx, tmp_path: Path) -> None:
    mx.script("rcpt", "450 4.2.1 busy", to=BOB)
    mx.script("rcpt", "550 5.1.1 no such user", to=CAROL)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        facade, three = ears(mta).mta, envelope([BOB, CAROL, DAVE])
        first = await facade.submit(session(), three, message(), identity=KEPT)
        assert outcomes(first) == [Outcome.DEFERRED, Outcome.FAILED, Outcome.DELIVERED]
        for _ in range(2):
            again = await facade.submit(session(), three, message(body="not the same octets"), identity=KEPT)
            assert outcomes(again) == [Outcome.DELIVERED, Outcome.FAILED, Outcome.DELIVERED]
        assert (again[1].reply.code, again[1].reply.status) == (550, "5.1.1")
        other = await facade.submit(session(), three, message(), identity=Identity(b"order 8", is_kept=True))
        assert outcomes(other) == [Outcome.DELIVERED] * 3
    assert sorted(to(mx)) == sorted([DAVE, BOB, BOB, CAROL, DAVE])


@pytest.mark.parametrize("identity", [KEPT, BODY], ids=["kept", "not kept"])
async def test_two_that_come_at_once_are_one(identity: Identity, mx: ScriptedMx, tmp_path: Path) -> None:
    mx.script("dot", delay=0.3, to=BOB)
    mx.script("rcpt", "450 4.2.1 busy", to=DAVE)
    mx.script("rcpt", "550 5.1.1 no such user", to=CAROL)
    three = envelope([BOB, CAROL, DAVE])
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        submit = ears(mta).mta.submit
        both = await asyncio.gather(*(submit(session(), three, message(), identity=identity) for _ in range(2)))
        assert [outcomes(each) for each in both] == [[Outcome.DELIVERED, Outcome.FAILED, Outcome.DEFERRED]] * 2
        both = await asyncio.gather(*(submit(session(), three, message(), identity=identity) for _ in range(2)))
        assert [outcomes(each) for each in both] == [[Outcome.DELIVERED, Outcome.FAILED, Outcome.DELIVERED]] * 2
        assert mta.mta.book.claims == 0
        assert bool(len(mta.mta.book)) is identity.is_kept
    assert to(mx) == [BOB, DAVE]


async def test_who_comes_again_before_it_is_heard_that_it_has_gone_joins_what_is_under_way(
    mx: ScriptedMx, tmp_path: Path
) -> None:
    mx.script("dot", delay=0.3)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        submit = ears(mta).mta.submit
        first = asyncio.create_task(submit(session(), envelope([BOB]), message(), identity=BODY))
        await until(lambda: mx.arrived)
        again = asyncio.create_task(submit(session(), envelope([BOB]), message(), identity=BODY))
        await asyncio.sleep(0.05)
        first.cancel()
        assert outcomes(await again) == [Outcome.DELIVERED]
        await until(lambda: mta.mta.book.claims == 0)
        assert len(mta.mta.book) == 0
    assert to(mx) == [BOB]


@pytest.mark.parametrize("identity", [KEPT, BODY], ids=["kept", "not kept"])
async def test_who_gives_up_waiting_leaves_nothing_claimed(identity: Identity, mx: ScriptedMx, tmp_path: Path) -> None:
    mx.script("rcpt", delay=0.3)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        submit = ears(mta).mta.submit
        task = asyncio.create_task(submit(session(), envelope([BOB]), message(), identity=identity))
        await until(lambda: any(line.startswith("RCPT") for line in mx.commands))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: mta.mta.book.claims == 0)
        [again] = await submit(session(), envelope([BOB]), message(), identity=identity)
        assert again.outcome is Outcome.DELIVERED
    assert to(mx) == [BOB]


async def test_what_a_plugin_refuses_is_kept_too_and_a_fault_leaves_no_claim(mx: ScriptedMx, tmp_path: Path) -> None:
    class Refuses(Plugin):
        calls = 0

        @hookimpl
        def on_data(self, message: Message) -> Reject:
            Refuses.calls += 1
            return Reject("not this one", "5.7.1")

    async with house(tmp_path, mx, plugins={"refuses": Refuses, "ears": Ears}) as mta:
        for _ in range(2):
            [result] = await ears(mta).mta.submit(session(), envelope([BOB]), message(), identity=KEPT)
            assert (result.outcome, result.reply.status) == (Outcome.FAILED, "5.7.1")
        assert Refuses.calls == 1
        assert mta.mta.book.claims == 0


async def test_the_next_hop_that_breaks_off_makes_it_deferred_and_the_repeat_sends_it(
    mx: ScriptedMx, tmp_path: Path
) -> None:
    mx.script("content", DROP)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        submit = ears(mta).mta.submit
        [first] = await submit(session(), envelope([BOB]), message(), identity=KEPT)
        [second] = await submit(session(), envelope([BOB]), message(), identity=KEPT)
    assert (first.outcome, second.outcome) == (Outcome.DEFERRED, Outcome.DELIVERED)


async def test_without_a_kept_identity_twice_on_purpose_is_twice(mx: ScriptedMx, tmp_path: Path) -> None:
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        for _ in range(2):
            await ears(mta).mta.submit(session(), envelope([BOB]), message(), identity=Identity(b"body"))
        assert len(mta.mta.book) == 0
    assert to(mx) == [BOB, BOB]


async def test_as_long_as_somebody_is_deferred_the_repeat_finds_who_is_final(mx: ScriptedMx, tmp_path: Path) -> None:
    for _ in range(2):
        mx.script("rcpt", "450 4.2.1 busy", to=BOB)
    async with house(tmp_path, mx, plugins={"ears": Ears}) as mta:
        facade, two, body = ears(mta).mta, envelope([BOB, DAVE]), Identity(b"body")
        for _ in range(2):
            results = await facade.submit(session(), two, message(), identity=body)
            assert outcomes(results) == [Outcome.DEFERRED, Outcome.DELIVERED]
        results = await facade.submit(session(), two, message(), identity=body)
        assert outcomes(results) == [Outcome.DELIVERED] * 2
        assert to(mx) == [BOB, DAVE]
        assert len(mta.mta.book) == 0
        await facade.submit(session(), two, message(), identity=body)
    assert to(mx) == [BOB, BOB, DAVE, DAVE]


async def test_who_does_not_wait_is_told_held_and_it_is_tried_until_it_goes(
    mx: ScriptedMx, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        mx.script("rcpt", "450 4.2.1 busy", to=BOB)
    async with house(tmp_path, mx, hold='schedule = ["100ms"]', plugins={"ears": Ears}) as mta:
        facade = ears(mta).mta
        results = await facade.accept(session(), envelope([BOB, CAROL]), message(), identity=KEPT)
        assert [result.reply.text for result in results] == ["held in memory, not delivered yet"] * 2
        await until(lambda: len(mx.received) == 2)
        again = await facade.accept(session(), envelope([BOB, CAROL]), message(), identity=KEPT)
        assert outcomes(again) == [Outcome.DELIVERED] * 2
    assert sorted(to(mx)) == sorted([BOB, CAROL])


async def test_who_does_not_wait_is_still_told_what_is_refused_at_once(mx: ScriptedMx, tmp_path: Path) -> None:
    class Choosy(Plugin):
        @hookimpl
        def on_rcpt(self, recipient):  # type: ignore[no-untyped-def]
            return Reject("no", "5.7.1") if recipient.address.mailbox == BOB else None

    async with house(tmp_path, mx, plugins={"choosy": Choosy, "ears": Ears}) as mta:
        results = await ears(mta).mta.accept(session(), envelope([BOB, CAROL]), message())
        assert outcomes(results) == [Outcome.FAILED, Outcome.DELIVERED]
        await until(lambda: to(mx) == [CAROL])


async def test_who_goes_while_it_is_noted_that_mail_is_held_leaves_it_held(mx: ScriptedMx, tmp_path: Path) -> None:
    """The repeat is told that it is held: so it must be."""
    mx.script("rcpt", "450 4.2.1 busy", to=BOB)
    async with house(tmp_path, mx, hold='schedule = ["100ms"]', plugins={"ears": Ears}) as mta:
        facade, book = ears(mta).mta, mta.mta.book
        noting, write = asyncio.Event(), book.write

        async def slowly(entries):  # type: ignore[no-untyped-def]
            await write(entries)
            noting.set()
            await asyncio.sleep(0.05)

        book.write = slowly  # type: ignore[method-assign]
        task = asyncio.create_task(facade.accept(session(), envelope([BOB]), message(), identity=KEPT))
        await noting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [again] = await facade.accept(session(), envelope([BOB]), message(), identity=KEPT)
        assert again.outcome is Outcome.DELIVERED
        await until(lambda: to(mx) == [BOB])


async def test_what_goes_on_is_known_even_before_what_has_ended_is_safe(mx: ScriptedMx, tmp_path: Path) -> None:
    class Choosy(Plugin):
        @hookimpl
        def on_rcpt(self, recipient):  # type: ignore[no-untyped-def]
            return Reject("no", "5.7.1") if recipient.address.mailbox == BOB else None

    mx.script("dot", delay=0.5)
    async with house(tmp_path, mx, plugins={"choosy": Choosy, "ears": Ears}) as mta:
        facade, book = ears(mta).mta, mta.mta.book
        write, writing = book.write, asyncio.Event()

        async def slowly(entries):  # type: ignore[no-untyped-def]
            await write(entries)
            writing.set()
            await asyncio.sleep(0.2)

        book.write = lambda entries: asyncio.ensure_future(slowly(entries))  # type: ignore[assignment]
        two, body = envelope([BOB, CAROL]), Identity(b"body")
        soon = facade.clock.monotonic() + 0.2
        first = asyncio.create_task(facade.submit(session(), two, message(), deadline=soon, identity=body))
        await asyncio.wait_for(writing.wait(), 5)
        again = await facade.submit(session(), two, message(), identity=body)
        assert outcomes(again) == [Outcome.FAILED, Outcome.DELIVERED]
        await first
    assert to(mx) == [CAROL]


async def test_who_does_not_wait_is_told_under_a_kept_identity_too_what_is_stopped_at_once(
    mx: ScriptedMx, tmp_path: Path
) -> None:
    class Choosy(Plugin):
        @hookimpl
        def on_rcpt(self, recipient):  # type: ignore[no-untyped-def]
            return {BOB: Reject("no", "5.7.1"), DAVE: Defer("later", "4.7.1")}.get(recipient.address.mailbox)

    three = envelope([BOB, CAROL, DAVE])
    async with house(tmp_path, mx, plugins={"choosy": Choosy, "ears": Ears}) as mta:
        first = await ears(mta).mta.accept(session(), three, message(), identity=KEPT)
        assert outcomes(first) == [Outcome.FAILED, Outcome.DELIVERED, Outcome.DEFERRED]
        again = await ears(mta).mta.accept(session(), three, message(), identity=KEPT)
        assert outcomes(again) == [Outcome.FAILED, Outcome.DELIVERED, Outcome.DEFERRED]
        await until(lambda: to(mx) == [CAROL])


@pytest.mark.parametrize("cause", ["a plugin", "no answer"])
async def test_who_was_told_held_is_held_whatever_the_reason(cause: str, mx: ScriptedMx, tmp_path: Path) -> None:
    class Once(Plugin):
        calls = 0

        @hookimpl
        def before_sign(self, delivery: Delivery) -> Defer | None:
            Once.calls += 1
            return Defer("not yet", "4.7.1") if cause == "a plugin" and Once.calls == 1 else None

    if cause == "no answer":
        mx.script("content", DROP)
    async with house(tmp_path, mx, hold='schedule = ["100ms"]', plugins={"once": Once, "ears": Ears}) as mta:
        [result] = await ears(mta).mta.accept(session(), envelope([BOB]), message())
        assert result.outcome is Outcome.DELIVERED
        await until(lambda: to(mx) == [BOB])


async def test_where_nothing_more_can_be_held_nobody_is_told_that_it_is(mx: ScriptedMx, tmp_path: Path) -> None:
    for _ in range(3):
        mx.script("rcpt", "450 4.2.1 busy")
    hold = 'schedule = ["100ms", "10s"]\nmax_count = 2'
    async with house(tmp_path, mx, hold=hold, plugins={"ears": Ears}) as mta:
        accept = ears(mta).mta.accept
        all_three = await accept(session(), envelope([BOB, CAROL, DAVE]), message())
        assert outcomes(all_three) == [Outcome.DELIVERED] * 3
        await until(lambda: mta.mta.reception.hold.count == 3)  # who was told so is held, the limit aside
        [result] = await accept(session(), envelope([BOB]), message(body="another"))
        assert (result.outcome, result.reply.status) == (Outcome.DEFERRED, "4.3.1")
        await until(lambda: len(to(mx)) == 3)
        [result] = await accept(session(), envelope([BOB]), message(body="another"))
        assert result.outcome is Outcome.DELIVERED
