"""The caller of the hooks: order, chaining, and every way in which a plugin can go wrong."""

import asyncio
import logging
import time
from dataclasses import replace

import pytest

from mtaframe import Defer, Discard, Message, Outcome, Plugin, Private, Question, Reject, Route, hookimpl
from mtaframe.hook_answers import NOTES_LIMIT
from mtaframe.hook_call import FAULTS_IN_A_ROW, Asked
from mtaframe.plugins import HOOKS, PluginError, Plugins, Stopped, plugin_class
from mtaframe.settings import PluginSettings
from mtaframe.testing import RecordingMta, delivery, envelope, message, recipient, result, session
from mtaframe.watchdog import Watchdog


def plugins(*instances, observer=None, watchdog=None, **grants):
    granted = PluginSettings(**grants)
    named = [(type(instance).__name__.lower(), instance, granted) for instance in instances]
    return Plugins(named, watchdog, observer)


def plugin(name="plugin", **methods):
    """An instance of a class made of these hooks, each marked as one."""
    body = {hook: hookimpl(function) for hook, function in methods.items()}
    return type(name, (Plugin,), body)(None, RecordingMta())


async def data(called):
    return await called.on_data(session(), envelope(), message())


def prepends(name):
    return lambda self, message: message.prepend(name, "1")


FAULT = "temporary trouble while processing, try again later"


def is_fault(answer):
    return isinstance(answer, Stopped) and answer.verdict == Defer(FAULT, "4.3.0")


def test_hooks_are_those_of_the_walk_in_its_order():
    walk = ("on_connect", "on_rcpt", "on_data", "before_sign", "route", "sign", "on_result", "on_event")
    assert walk == HOOKS


async def test_each_plugin_sees_what_the_one_before_made_in_the_order_of_the_list():
    async def slowly(self, message):
        await asyncio.sleep(0.01)
        return message.prepend("X-First", "1")

    called = plugins(plugin("a", on_data=slowly), plugin("b", on_data=prepends("X-Second")))
    _, changed = await data(called)
    assert [field.name for field in changed.fields[:2]] == ["X-Second", "X-First"]


async def test_a_hook_names_only_the_arguments_that_it_wants():
    def all_of_them(self, session, envelope, message):
        return message.prepend("X-To", str(len(envelope.recipients)))

    _, changed = await data(plugins(plugin(on_data=all_of_them)))
    assert changed.first("X-To") == "1"


async def test_on_data_may_change_envelope_and_message_at_once():
    def both(self, envelope, message):
        return replace(envelope, stream="news"), message.prepend("X-A", "1")

    changed_envelope, changed = await data(plugins(plugin(on_data=both)))
    assert (changed_envelope.stream, changed.first("X-A")) == ("news", "1")


async def test_a_verdict_stops_and_names_the_plugin():
    said = Reject("no")
    called = plugins(plugin("first", on_data=lambda self: said), plugin("second", on_data=lambda self: 1 / 0))
    assert await data(called) == Stopped(said, "first")


async def test_every_hook_passes_on_what_it_is_given():
    called = plugins(plugin())
    copy, way = delivery(), Route()
    assert await called.on_connect(session()) == session()
    assert await called.on_rcpt(session(), envelope(), recipient()) == recipient()
    assert await called.before_sign(copy) is copy
    assert await called.route(copy, way) is way
    assert await called.sign(envelope(), copy.message, way) is copy.message


WRONG = {
    "raises": lambda self, message: 1 / 0,
    "a bool": lambda self, message: True,
    "text": lambda self, message: "550 no",
    "an exception as a value": lambda self, message: ValueError(),
    "a reject with a 4xx code": lambda self, message: Reject("no", "5.7.1", 450),
    "a defer with a 5.x status": lambda self, message: Defer("no", "5.7.1", 451),
    "a discard that is not allowed": lambda self, message: Discard(),
    "a header section that is none": lambda self, message: Message(b"no field\r\n", message.body),
    "a bare LF in the body": lambda self, message: message.with_body(b"a\n.\r\n"),
    "another envelope": lambda self, envelope: replace(envelope, id="other"),
    "a recipient more": lambda self, envelope: replace(envelope, recipients=envelope.recipients * 2),
    "another recipient": lambda self, envelope: replace(envelope, recipients=(recipient("eve@example.net"),)),
    "a tuple of three": lambda self, envelope, message: (envelope, message, 1),
    "notes that are no plain data": lambda self, envelope: envelope.with_note("a", object()),
    "a note of a gigabyte": lambda self, envelope: envelope.with_note("a", bytes(1_000_000_000)),
    "many notes": lambda self, envelope: replace(envelope, notes=Private({str(i): "x" * 100 for i in range(1000)})),
}


@pytest.mark.parametrize("how", WRONG)
async def test_a_fault_defers_the_message(how):
    called = plugins(plugin(on_data=WRONG[how]))
    assert is_fault(await data(called))
    assert called.loaded[0].faults == 1


@pytest.mark.parametrize("how", WRONG)
async def test_a_fault_can_be_skipped_and_changes_nothing(how):
    called = plugins(plugin("faulty", on_data=WRONG[how]), plugin("good", on_data=prepends("X-A")), on_fault="skip")
    before, changed = await data(called)
    assert before == envelope()
    assert changed == message().prepend("X-A", "1")


async def test_a_fault_is_logged_with_the_plugin_and_place_and_without_its_text(caplog):
    def tells(self, message):
        raise ValueError("secret bob@example.net")

    await data(plugins(plugin("chatty", on_data=tells)))
    [line] = [record.getMessage() for record in caplog.records]
    assert "plugin=chatty hook=on_data fault=ValueError at " in line
    assert "secret" not in caplog.text


async def test_a_note_may_hold_as_much_as_the_limit():
    fits = "x" * (NOTES_LIMIT - 1)
    changed, _ = await data(plugins(plugin(on_data=lambda self, envelope: envelope.with_note("a", fits))))
    assert changed.notes["a"] == fits


@pytest.mark.parametrize(
    ("hook", "arguments", "wrong"),
    [
        ("on_connect", (session(),), session(id="other")),
        ("on_connect", (session(),), Discard()),
        ("on_rcpt", (session(), envelope(), recipient()), Discard()),
        ("on_rcpt", (session(), envelope(), recipient()), envelope()),
        ("before_sign", (delivery(),), delivery(id="other")),
        ("route", (delivery(), Route()), Route(transport="nobody's")),
        ("route", (delivery(), Route()), "mx.example.com"),
        ("sign", (envelope(), message(), Route()), message().with_body(b"other\r\n")),
        ("sign", (envelope(), message(), Route()), message().append("X-Below", "1")),
        ("sign", (envelope(), message(), Route()), message().without("Subject")),
    ],
)
async def test_each_hook_refuses_what_is_not_its_answer(hook, arguments, wrong):
    called = plugins(plugin(**{hook: lambda self: wrong}), allow_discard=True)
    assert is_fault(await getattr(called, hook)(*arguments))


async def test_sign_may_add_fields_on_top():
    signed = await plugins(plugin(sign=prepends("X-Sig"))).sign(envelope(), message(), Route())
    assert signed.first("X-Sig") == "1"


async def test_a_discard_needs_the_operators_leave():
    called = plugins(plugin("bin", on_data=lambda self: Discard()), allow_discard=True)
    assert await data(called) == Stopped(Discard(), "bin")


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_hook_that_awaits_too_long_is_cut_off(stubborn, monkeypatch):
    monkeypatch.setattr("mtaframe.hook_call.GRACE", 0.05)

    async def hangs(self, message):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if not stubborn:
                    raise

    began = time.monotonic()
    assert is_fault(await data(plugins(plugin(on_data=hangs), budget="50ms")))
    assert time.monotonic() - began < 2
    await asyncio.sleep(0)  # the task itself is not left cancelled


async def test_a_hook_that_is_late_but_cleans_up_in_time_leaves_no_trace():
    cleaned = []

    async def cleans(self, message):
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(True)

    assert is_fault(await data(plugins(plugin(on_data=cleans), budget="50ms")))
    assert cleaned == [True]


async def test_a_client_that_leaves_cancels_the_hook_and_is_no_fault():
    async def waits(self, message):
        await asyncio.sleep(3600)

    called = plugins(plugin(on_data=waits))
    task = asyncio.create_task(data(called))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert called.loaded[0].faults == 0


async def test_a_client_that_leaves_while_a_late_hook_cleans_up_still_ends_the_task():
    cleaning = asyncio.Event()

    async def cleans(self, message):
        try:
            await asyncio.sleep(3600)
        finally:
            cleaning.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(data(plugins(plugin(on_data=cleans), budget="50ms")))
    await cleaning.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_leaves_at_the_moment_when_a_hook_gets_late_still_ends_the_task():
    async def waits(self, message):
        await asyncio.sleep(3600)

    task = asyncio.create_task(data(plugins(plugin(on_data=waits), budget="50ms")))
    await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.06, task.cancel)
    time.sleep(0.1)  # so that both are due at once
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_timeouts_inside_a_plugin_work_after_it_was_resumed():
    async def times_out(self, message):
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)
        except TimeoutError:
            return message.prepend("X-Timeout", "1")

    _, changed = await data(plugins(plugin(on_data=times_out)))
    assert changed.first("X-Timeout") == "1"


async def test_a_hook_that_blocks_the_loop_is_named_with_its_place(caplog):
    def blocks(self, message):
        time.sleep(0.4)

    watchdog = Watchdog(patience=0.1)
    watchdog.start()
    try:
        await data(plugins(plugin("sleeper", on_data=blocks), watchdog=watchdog))
    finally:
        watchdog.stop()
    lines = [record.getMessage() for record in caplog.records]
    assert any("blocks the event loop plugin=sleeper" in line and "test_plugins.py:" in line for line in lines)


async def test_a_blocking_plugin_runs_in_threads_and_is_bounded_too():
    def blocks(self, message):
        time.sleep(0.3)

    called = plugins(plugin(on_data=blocks), blocking=True, budget="50ms")
    await called.start()
    ticks = 0
    task = asyncio.create_task(data(called))
    while not task.done():
        ticks += 1
        await asyncio.sleep(0.005)
    assert is_fault(task.result())
    assert ticks > 3
    await called.stop()


async def test_a_blocking_plugin_may_be_async():
    async def adds(self, message):
        await asyncio.sleep(0)
        return message.prepend("X-A", "1")

    called = plugins(plugin(on_data=adds), blocking=True)
    await called.start()
    _, changed = await data(called)
    assert changed.first("X-A") == "1"
    await called.stop()


async def test_after_faults_in_a_row_a_plugin_rests_and_then_gets_one_try(caplog):
    calls = []

    def fails(self, message):
        calls.append(1)
        raise ValueError

    called = plugins(plugin("weak", on_data=fails))
    for _ in range(FAULTS_IN_A_ROW + 3):
        assert is_fault(await data(called))
    assert len(calls) == FAULTS_IN_A_ROW
    assert "plugin rests after faults plugin=weak" in caplog.text
    called.loaded[0].closed_until = 0.0
    assert is_fault(await data(called))
    assert is_fault(await data(called))
    assert len(calls) == FAULTS_IN_A_ROW + 1


async def test_all_are_told_a_result_whatever_one_of_them_does():
    told = []
    called = plugins(
        plugin("faulty", on_result=lambda self, result: 1 / 0),
        plugin("nosy", on_result=lambda self: True),
        plugin("good", on_result=lambda self, delivery, result: told.append(result.outcome)),
    )
    await called.on_result(delivery(), result())
    assert told == [Outcome.DELIVERED]
    assert [one.faults for one in called.loaded] == [1, 1, 0]


def test_a_misspelt_hook_is_refused_at_load():
    with pytest.raises(PluginError, match=r'"plugin".*on_dat'):
        plugins(plugin(on_dat=lambda self, message: None))


def test_a_misspelt_argument_is_refused_at_load():
    with pytest.raises(PluginError, match="massage"):
        plugins(plugin(on_data=lambda self, massage: None))


def test_a_hook_without_its_mark_is_refused_at_load():
    class Unmarked(Plugin):
        def on_data(self, message): ...

    with pytest.raises(PluginError, match="on_data without @hookimpl"):
        plugins(Unmarked(None, RecordingMta()))


def test_a_plugin_that_is_not_installed_is_named():
    with pytest.raises(PluginError, match='"nowhere"'):
        plugin_class("nowhere")


async def test_a_plugin_that_does_not_start_stops_those_before():
    stopped = []

    class Good(Plugin):
        async def stop(self):
            stopped.append("good")

    class Bad(Plugin):
        async def start(self):
            raise ValueError("the licence has run out")

    with pytest.raises(PluginError, match=r'"bad" does not start: the licence has run out'):
        await plugins(Good(None, RecordingMta()), Bad(None, RecordingMta())).start()
    assert stopped == ["good"]


class IsWeekend(Question[bool]):
    @property
    def default(self):
        return False


async def test_a_question_goes_to_who_registered_for_it_else_to_its_default():
    class Knows(Plugin):
        async def is_weekend(self, question):
            return True

        def answers(self):
            return {IsWeekend: self.is_weekend}

    assert await plugins(plugin()).ask(IsWeekend()) is False
    assert await plugins(Knows(None, RecordingMta())).ask(IsWeekend()) is True


async def test_a_question_that_is_answered_by_a_fault_has_its_default():
    class Fails(Plugin):
        async def is_weekend(self, question):
            raise ValueError

        def answers(self):
            return {IsWeekend: self.is_weekend}

    assert await plugins(Fails(None, RecordingMta())).ask(IsWeekend()) is False


def test_two_that_offer_the_same_transport_are_refused():
    class Sink(Plugin):
        def transports(self):
            return {"sink": object()}

    class Other(Sink):
        pass

    with pytest.raises(PluginError, match='"sink", which exists already'):
        plugins(Sink(None, RecordingMta()), Other(None, RecordingMta()))


async def test_a_new_instance_adopts_from_the_old_one_of_its_name():
    class Keeps(Plugin):
        held = ()

        def adopt(self, old):
            self.held = old.held

    old, new = plugins(Keeps(None, RecordingMta())), plugins(Keeps(None, RecordingMta()))
    old.loaded[0].instance.held = ("mail",)
    new.adopt(old)
    assert new.loaded[0].instance.held == ("mail",)


async def test_an_observer_sees_every_call():
    seen: list[Asked] = []
    await data(
        plugins(plugin("a", on_data=prepends("X-A")), plugin("b", on_data=lambda self: None), observer=seen.append)
    )
    assert [(one.plugin, one.hook, one.fault, one.answer is None) for one in seen] == [
        ("a", "on_data", None, False),
        ("b", "on_data", None, True),
    ]


async def test_calls_are_counted_and_timed():
    called = plugins(plugin(on_data=lambda self: None))
    logging.getLogger("mtaframe").debug("nothing is logged for a good call")
    await data(called)
    assert called.loaded[0].calls == 1
    assert 0 < called.loaded[0].seconds < 1


async def test_a_plugin_that_never_starts_or_stops_is_given_up(monkeypatch):
    monkeypatch.setattr("mtaframe.plugins.TO_START", 0.05)
    monkeypatch.setattr("mtaframe.plugins.TO_STOP", 0.05)

    class Stuck(Plugin):
        async def start(self):
            await asyncio.sleep(3600)

        async def stop(self):
            await asyncio.sleep(3600)

    with pytest.raises(PluginError, match=r'"stuck" does not start within'):
        await plugins(Stuck(None, RecordingMta())).start()
    await plugins(Stuck(None, RecordingMta())).stop()
