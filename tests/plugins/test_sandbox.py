import asyncio
from typing import Any

import pytest

from mtaframe import Outcome, State
from mtaframe.lifecycle import Attempt
from mtaframe.state import MemoryState
from mtaframe.testing import RecordingMta, VirtualClock, deliveries, message, route
from mtaframe_plugins.sandbox import NoSuchMessageError, Sandbox, by_id, forgotten, the_one
from tests.plugins.shared_state import views


def sandbox(clock: VirtualClock | None = None, state: State | None = None, **config: object) -> Sandbox:
    return Sandbox(Sandbox.Config.model_validate(config), RecordingMta(clock=clock, state=state))


async def send(box: Sandbox, *to: str, **changes: Any) -> Any:
    attempt = Attempt(0.0)
    results = await box.transports()["sandbox"].deliver(
        deliveries(*(to or ["bob@example.net"]), **changes), route(transport="sandbox"), attempt
    )
    assert attempt.dot_sent or results[0].outcome is Outcome.FAILED
    return results


async def test_mail_is_kept_and_the_reply_says_that_it_was_not_delivered() -> None:
    box = sandbox()
    mail = message(fields={"Subject": "=?utf-8?q?Gr=C3=BC=C3=9Fe?="}, body="hello\n")
    results = await send(box, "a@example.net", "b@example.net", message=mail)
    assert [result.outcome for result in results] == [Outcome.DELIVERED] * 2
    assert {result.reply.line for result in results} == {"250 2.0.0 kept in the sandbox, NOT delivered"}
    assert {result.by for result in results} == {"sandbox"}
    assert box.transports()["sandbox"].test_only
    assert await box.list() == [
        {
            "id": number,
            "received": "2026-03-01T12:00:00+00:00",
            "reverse-path": "alice@example.com",
            "recipient": recipient,
            "subject": "Grüße",
            "size": len(mail.raw),
        }
        for number, recipient in (("1", "a@example.net"), ("2", "b@example.net"))
    ]
    await box.stop()


@pytest.mark.parametrize("raw", [b"Subject: x\r\n\r\n.dot\r\n\xff\r\n", b"Subject: x\r\n\r\nno end", b"A: b\r\n\r\n"])
async def test_a_message_is_shown_as_an_mx_would_have_got_it(raw: bytes) -> None:
    box = sandbox()
    await send(box, message=message(raw))
    assert await box.show("1", raw=True) == (raw if raw.endswith(b"\r\n") else raw + b"\r\n")
    text = await box.show("1")
    assert isinstance(text, str)
    assert text.startswith("MAIL FROM:<alice@example.com>\nRCPT TO:<bob@example.net>\n\n")
    with pytest.raises(NoSuchMessageError):
        await box.show("2")
    await box.stop()


async def test_the_oldest_goes_first_by_count_size_and_age() -> None:
    clock = VirtualClock()
    mail = message(body="x" * 1000 + "\n")
    by_count, by_size = sandbox(max_count=2), sandbox(max_size="2500 B")
    for box in (by_count, by_size):
        for _ in range(4):
            await send(box, message=mail)
        assert [row["id"] for row in await box.list()] == ["3", "4"]
        await box.stop()
    by_age = sandbox(clock, max_age="1h")
    await send(by_age)
    clock.advance(1800)
    await send(by_age)
    clock.advance(1801)
    assert [row["id"] for row in await by_age.list()] == ["2"]
    await by_age.stop()


async def test_what_is_too_old_goes_although_nobody_looks() -> None:
    clock = VirtualClock()
    box = sandbox(clock, max_age="50ms")
    await send(box)
    clock.advance(1)
    await asyncio.sleep(0.15)
    assert not box._inbox.kept
    assert box._inbox._timer is None


async def test_a_message_that_can_never_fit_is_refused() -> None:
    (result,) = await send(sandbox(max_size="100 B"))
    assert (result.outcome, result.reply.code) == (Outcome.FAILED, 552)


async def test_the_inbox_outlives_a_reload_and_the_old_instance_may_still_add_to_it() -> None:
    clock = VirtualClock()
    state = MemoryState(clock)
    old, new = sandbox(clock, state), sandbox(clock, state, max_count=2)
    await send(old, "a@example.net")
    new.adopt(old)
    await send(old, "b@example.net")
    await old.stop()
    await send(new, "c@example.net")
    assert [row["recipient"] for row in await new.list()] == ["b@example.net", "c@example.net"]
    assert new._inbox._timer is not None
    await new.stop()


async def test_clear_forgets_everything() -> None:
    box = sandbox()
    await send(box)
    assert await box.clear() == 1
    assert await box.list() == []
    await send(box)
    assert [row["id"] for row in await box.list()] == ["2"]
    await box.stop()


async def test_its_values_do_not_print_what_they_hold() -> None:
    box = sandbox()
    await send(box, "canary@example.net", message=message(fields={"Subject": "canary"}))
    assert "canary" not in repr(box._inbox.kept)
    await box.stop()


async def test_two_processes_keep_their_own_and_the_commands_speak_for_both() -> None:
    clock = VirtualClock()
    one, other = (sandbox(clock, state) for state in views(clock))
    await asyncio.gather(*(send(box, f"{name}@example.net") for name in "abc" for box in (one, other)))
    await send(other, "x@example.net", "y@example.net")
    answers = [await box.list() for box in (one, other)]
    assert [len(rows) for rows in answers] == [3, 5]
    rows = by_id(answers)
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5", "6", "7", "8"]
    assert [row["recipient"] for row in rows[-2:]] == ["x@example.net", "y@example.net"]
    with pytest.raises(NoSuchMessageError):
        await one.show("8")
    assert "RCPT TO:<y@example.net>" in str(the_one([await other.show("8")]))
    assert forgotten([await box.clear() for box in (one, other)]) == "8 forgotten"
    await send(one)
    assert [row["id"] for row in await one.list()] == ["9"]
    await one.stop()
    await other.stop()
