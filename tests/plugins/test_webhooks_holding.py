"""What account holders change takes effect at once: in all processes, over reloads and restarts, in what waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mtaframe import Counter, Endpoint, EndpointFault, SaveEndpoint
from mtaframe.clock import SystemClock
from mtaframe.settings import StateSettings
from mtaframe.state import MemoryState, open_state
from mtaframe.state.commands import answer
from mtaframe.state.memory import Documents
from mtaframe.storage import State
from mtaframe.testing import RecordingMta, ScriptedMx, account, running
from mtaframe_plugins.webhooks import Webhooks
from mtaframe_plugins.webhooks import holding as holdings
from mtaframe_plugins.webhooks import line as lines
from mtaframe_plugins.webhooks.gathering import merged
from tests.core.state_server import serving
from tests.dialogue import Dialogue
from tests.plugins.made_webhooks import drop, listed, made, proven, reachable, save, tell, webhooks
from tests.plugins.test_webhooks_house import ACCOUNTS as ACCOUNTS_FILE
from tests.plugins.test_webhooks_house import settings
from tests.plugins.webhooks_receiver import Receiver, until

__all__ = ["reachable"]

pytestmark = pytest.mark.usefixtures("reachable")

ACCOUNTS = (account("acme"), account("beta"))
ELSEWHERE = "https://hooks.example.com/"

Begun = Callable[..., Awaitable[Webhooks]]


@pytest.fixture
async def begun() -> AsyncIterator[Begun]:
    """Another process with the plugin, on this state."""
    plugins = []

    async def begin(state: State | None = None, **config: object) -> Webhooks:
        mta = RecordingMta(clock=SystemClock(), accounts=ACCOUNTS, state=state)
        plugins.append(await webhooks(mta, **config))
        return plugins[-1]

    yield begin
    for plugin in plugins:
        await plugin.stop()
        await plugin.mta.http.close()  # type: ignore[attr-defined]


async def settled(plugin: Webhooks) -> None:
    """All that was told is in the queues."""
    await until(lambda: not plugin._unnumbered and plugin._numbering is None)


def queued(plugin: Webhooks) -> int:
    return sum(len(line.queue) + line.sending for _, _, line in plugin._all_lines())


async def test_what_one_process_makes_changes_and_deletes_holds_in_the_other_at_its_next_event(begun: Begun) -> None:
    async with serving(2) as (_, workers), Receiver() as receiver, Receiver() as moved:
        one, other = [await begun(worker) for worker in workers]
        tell(other)
        await settled(other)
        mine = await made(one, receiver.url)
        tell(other)
        await until(lambda: len(receiver.taken) == 1)
        assert proven(receiver, mine) == 1
        await made(one, moved.url, mine.id)
        tell(other)
        await until(lambda: len(moved.taken) == 1)
        assert await listed(other) == await listed(one)
        assert await drop(one, mine.id)
        tell(other)
        tell(one)
        await asyncio.gather(one.stop(), other.stop())
        assert (len(receiver.events), len(moved.events)) == (1, 1)
        assert await listed(other) == ()


async def test_a_worker_that_comes_later_tells_its_first_event(begun: Begun) -> None:
    async with serving(1) as (server, [worker]), Receiver() as receiver:
        await made(await begun(worker), receiver.url)
        late = await begun(await server.start(1))
        tell(late)
        await until(lambda: receiver.taken)
        await late.stop()


async def test_what_is_deleted_gets_nothing_more_of_what_waited_in_another_process(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "SHORTEST_REST", 0.01)
    async with serving(2) as (_, workers), Receiver(always=500) as receiver:
        one, other = [await begun(worker, retries=["300ms"] * 9) for worker in workers]
        mine = await made(one, receiver.url)
        tell(other, count=4)
        tell(one, count=4)
        await until(lambda: len(receiver.events) == 8)
        await until(lambda: all(plugin._all_lines().__next__()[2].queue.parked == 4 for plugin in (one, other)))
        receiver.always = 200
        assert await drop(one, mine.id)
        assert queued(one) == 0
        await until(lambda: queued(other) == 0, 3)
        assert (receiver.taken, len(receiver.events)) == ([], 8)
        assert [list(plugin._all_lines()) for plugin in (one, other)] == [[], []]


async def test_a_request_under_way_is_broken_off_where_its_webhook_is_deleted(begun: Begun) -> None:
    async with Receiver(delay=30) as receiver:
        plugin = await begun()
        mine = await made(plugin, receiver.url)
        tell(plugin, count=9)
        await until(lambda: len(receiver.events) == 4)
        [(_, _, line)] = plugin._all_lines()
        assert await drop(plugin, mine.id)
        await until(lambda: line.sending == 0, 1)
        assert (len(line.queue), list(plugin._all_lines())) == (0, [])


async def test_processes_that_add_at_once_never_pass_the_limit(begun: Begun) -> None:
    async with serving(3) as (_, workers):
        plugins = [await begun(worker, max_per_account=4) for worker in workers]
        answers = await asyncio.gather(*(save(plugin, ELSEWHERE) for plugin in plugins * 4))
        assert {type(each) for each in answers} == {Endpoint, EndpointFault}
        kept = [each for each in answers if isinstance(each, Endpoint)]
        assert len(kept) == len({each.id for each in kept}) <= 4
        while isinstance(await save(plugins[0], ELSEWHERE), Endpoint):
            pass
        assert {len(await listed(plugin)) for plugin in plugins} == {4}


async def test_changes_at_once_end_alike_in_all_processes(begun: Begun) -> None:
    async with serving(2) as (_, workers):
        plugins = [await begun(worker) for worker in workers]
        numbers = [(await made(plugins[0], ELSEWHERE)).id for _ in range(5)]
        for round_ in range(5):
            await asyncio.gather(
                *(made(plugins[n % 2], f"{ELSEWHERE}?{round_}-{n}", number) for n, number in enumerate(numbers)),
                drop(plugins[round_ % 2], 99),
            )
            for plugin in plugins:
                tell(plugin)
                await settled(plugin)
        kept = {each.id: each.url for each in await listed(plugins[0])}
        assert sorted(kept) == numbers
        for plugin in plugins:
            assert {number: line.endpoint.url for _, number, line in plugin._all_lines()} == kept
            for _, _, line in plugin._all_lines():
                line.end()


async def test_what_is_deleted_stays_deleted_whoever_saves_it_at_the_same_moment(begun: Begun) -> None:
    async with serving(2) as (_, workers):
        one, other = [await begun(worker) for worker in workers]
        for saver in (one, other):
            for _ in range(10):
                mine = await made(one, ELSEWHERE)
                await asyncio.gather(save(saver, ELSEWHERE, mine.id), drop(one, mine.id))
                assert await listed(one) == ()


async def test_a_purge_ends_them_and_what_is_made_after_it_is_known_everywhere(begun: Begun) -> None:
    async with serving(2) as (server, workers), Receiver() as before, Receiver() as after:
        one, other = [await begun(worker) for worker in workers]
        await made(one, before.url)
        tell(other)
        await until(lambda: before.taken)
        await answer(server.state, "state.purge", {"account": "acme"}, server.desk.change)
        tell(one)
        await one.stop()
        again = await made(one, after.url)
        assert again.id == 2, "no number is given twice"
        tell(other)
        await until(lambda: after.taken)
        await other.stop()
        assert (len(before.events), len(after.events)) == (1, 1)


async def test_a_reload_hands_the_queues_over_and_tells_nothing_twice(begun: Begun) -> None:
    state = MemoryState(SystemClock())
    async with Receiver(500, 500, delay=0.002) as receiver:
        plugin = await begun(state, retries=["20ms"] * 9)
        mine = await made(plugin, receiver.url)
        for round_ in range(6):
            tell(plugin, count=10)
            await asyncio.sleep(0.012)
            new = await begun(state, retries=["20ms"] * 9, connections=1 + round_ % 4)
            new.adopt(plugin)
            tell(plugin, count=5)
            tell(new, count=5)
            await plugin.stop()
            plugin = new
        await until(lambda: len(receiver.taken) == 120)
        await plugin.stop()
        assert len(set(receiver.ids)) == 120
        assert sorted(each["sequence"] for each in receiver.taken) == list(range(1, 121))
        assert proven(receiver, mine) == 122


async def test_410_switches_it_off_until_it_is_saved_again(begun: Begun) -> None:
    async with Receiver(410) as receiver:
        plugin = await begun(connections=1)
        mine = await made(plugin, receiver.url)
        other = await made(plugin, ELSEWHERE, is_active=False)
        tell(plugin, count=3)
        await until(lambda: [line.state for _, _, line in plugin._all_lines()] == ["off"])
        await made(plugin, ELSEWHERE, other.id, is_active=False)
        tell(plugin)
        await settled(plugin)
        assert len(receiver.events) == 1, "another webhook's change is none of this one"
        await made(plugin, receiver.url, mine.id)
        tell(plugin)
        await until(lambda: len(receiver.taken) == 1)


@pytest.mark.parametrize("last", [410, (503, {"Retry-After": "3600"}), 500])
async def test_what_the_old_url_answers_at_last_is_no_answer_of_the_new_one(
    last: int | tuple[int, dict[str, str]], begun: Begun
) -> None:
    async with Receiver(always=last, delay=0.2) as before, Receiver() as moved:
        plugin = await begun(connections=1)
        mine = await made(plugin, before.url)
        tell(plugin)
        await until(lambda: before.events)
        await made(plugin, moved.url, mine.id)
        tell(plugin)
        await until(lambda: len(moved.taken) == 2)
        [line] = [line for _, _, line in plugin._all_lines()]
        assert (line.state, line.dropped, len(before.events)) == ("on", 0, 1)


class Moody(Documents):
    """Documents that can't be read for a while."""

    is_broken = False
    asked = 0

    async def names(self, account: str, kind: str) -> list[str]:
        self.asked += 1
        if self.is_broken:
            raise ConnectionError("canary")
        return await super().names(account, kind)


async def test_what_may_have_been_deleted_waits_until_that_is_known(
    begun: Begun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lines, "SHORTEST_REST", 0.05)
    state = MemoryState(SystemClock())
    state.documents = documents = Moody()
    made_counter = Counter("webhooks.made", account="acme")
    async with Receiver() as receiver:
        plugin = await begun(state)
        await made(plugin, receiver.url)
        tell(plugin)
        await until(lambda: receiver.taken)
        documents.is_broken = True
        assert await state.registers.change(made_counter, state.registers.value(made_counter), 1000)
        tell(plugin, count=2)
        await until(lambda: documents.asked >= 6)
        assert len(receiver.events) == 1
        assert "webhooks can't be read account=acme fault=ConnectionError" in caplog.text
        assert "canary" not in caplog.text
        documents.is_broken = False
        await until(lambda: len(receiver.taken) == 3)


async def test_an_account_that_made_nothing_costs_no_question_and_one_that_did_costs_it_once(begun: Begun) -> None:
    state = MemoryState(SystemClock())
    state.documents = documents = Moody()
    async with Receiver() as receiver:
        plugin = await begun(state)
        await made(plugin, receiver.url)
        asked = documents.asked
        for _ in range(5):
            tell(plugin, "beta", count=5)
            tell(plugin, "acme", count=5)
            await settled(plugin)
        await until(lambda: len(receiver.taken) == 25)
        assert documents.asked == asked


async def test_what_a_disk_hides_is_missing_nowhere_for_long(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "READ_AGAIN", 0.05)
    state = MemoryState(SystemClock())
    async with Receiver() as receiver:
        knowing = await begun(state)
        mine = await made(knowing, receiver.url)
        document = await state.documents.get("acme", "webhook", str(mine.id))
        assert document is not None
        await state.documents.drop("acme")
        late = await begun(state)
        await asyncio.sleep(0.1)
        for plugin in (late, knowing):
            tell(plugin)
            await settled(plugin)
        assert list(late._all_lines()) == []
        await until(lambda: len(receiver.taken) == 1)
        await state.documents.put("acme", "webhook", str(mine.id), document)
        await asyncio.sleep(0.1)
        tell(late)
        await until(lambda: len(receiver.taken) == 2)
        assert proven(receiver, mine) == 2


async def test_documents_that_cannot_be_read_stop_nothing_that_has_not_changed(
    begun: Begun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(holdings, "READ_AGAIN", 0.01)
    state = MemoryState(SystemClock())
    state.documents = documents = Moody()
    async with Receiver() as receiver:
        plugin = await begun(state)
        await made(plugin, receiver.url)
        documents.is_broken = True
        for count in range(1, 6):
            await asyncio.sleep(0.02)
            tell(plugin)
            await until(lambda count=count: len(receiver.taken) == count)
        assert caplog.text.count("webhooks can't be read account=acme") == 1


async def test_they_outlive_a_restart_and_the_file_shows_nothing_of_them(begun: Begun, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with Receiver() as receiver:
        url = receiver.url + "?canary"
        state = await open_state(StateSettings(folder=str(folder)), tmp_path, SystemClock())
        first = await begun(state)
        mine = await made(first, url, description="canary")
        exported = await answer(state, "state.export", {"account": "acme"})
        assert url in exported["documents"][0]["text"]
        await first.stop()
        await state.close()
        octets = b"".join(path.read_bytes() for path in folder.iterdir() if path.name.startswith("state.db"))
        for secret in ("canary", "127.0.0.1", mine.secret, mine.signing_secret):
            assert secret.encode() not in octets
        assert b"webhooks.made" in octets
        state = await open_state(StateSettings(folder=str(folder)), tmp_path, SystemClock())
        second = await begun(state)
        tell(second)
        await until(lambda: receiver.taken)
        assert await listed(second) == (mine,)
        await second.stop()
        await state.close()


async def test_the_operator_sees_tests_and_retries_them_by_url(begun: Begun) -> None:
    async with serving(2, MemoryState(SystemClock())) as (_, workers), Receiver(500, 500) as receiver:
        one, other = [await begun(worker, retries=["1h"]) for worker in workers]
        mine = await made(one, receiver.url)
        for plugin in (one, other):
            tell(plugin)
        await until(lambda: len(receiver.events) == 2)
        await until(lambda: all(line.queue.parked for each in (one, other) for _, _, line in each._all_lines()))
        [row] = merged([await one.show(), await other.show()])
        assert (row["url"], row["account"], row["id"], row["to retry"]) == (receiver.url, "acme", mine.id, 2)
        async with asyncio.timeout(5):
            while [each.failed for each in await listed(other)] != [2]:
                await asyncio.sleep(0.01)
        assert [await plugin.retry(receiver.url) for plugin in (one, other)] == [1, 1]
        await until(lambda: len(receiver.taken) == 2)
        [tried] = await one.test(receiver.url)
        assert tried["success"]
        assert receiver.taken[-1]["account"] == "acme"


async def test_in_the_whole_program_a_webhook_is_told_of_mail_also_after_a_reload(tmp_path: Path) -> None:
    async with ScriptedMx() as mx, Receiver() as receiver:
        files = {"mtaframe.toml": settings(mx, "webhooks"), "accounts.toml": ACCOUNTS_FILE, "webhooks.toml": ""}
        async with running(tmp_path, files) as house:
            assert house.mta.generation is not None
            question = SaveEndpoint("acme", None, receiver.url, "", frozenset(), True)
            mine = await house.mta.generation.plugins.ask(question)
            assert isinstance(mine, Endpoint)
            async with Dialogue(house.port("lmtp"), hello="LHLO x.example.com") as client:
                for number in range(1, 4):
                    assert (await client.mail("b@example.net")).startswith("250")
                    await until(lambda number=number: len(receiver.taken) == 2 * number)
                    house.write("webhooks.toml", f"connections = {number}\n")
                    assert await house.mta.reload()
        assert [each["event"] for each in receiver.taken] == ["request", "delivered"] * 3
        assert proven(receiver, mine) == 6
