"""Real mail servers upstream, and processes that die: what they have acknowledged is delivered or reported."""

from pathlib import Path

import pytest

from tests.end_to_end.conftest import StartExim, StartPostfix
from tests.faults.harness import MANY, SIX, House, happen, house, kills, seed
from tests.faults.real_upstream import EXIM_ROUTERS, EXIM_TRANSPORTS, RealUpstream


async def faulted(run: House, upstream: RealUpstream, count: int) -> None:
    async with upstream.running():
        async with run.under_load(upstream):
            await happen(run, kills(count))
        balance = await run.settled(upstream)
        for name in {one.partition("-")[0] for one in (*balance.unexplained, *balance.lost)}:
            print(upstream.lines(f"<{name}-"), upstream.lines(f"s{name}@"), sep="\n")
        run.assert_nothing_is_lost(balance)


@pytest.mark.parametrize(("door", "relay"), [("lmtp", "lmtp:inet:127.0.0.1:{}"), ("mta", "smtp:[127.0.0.1]:{}")])
@pytest.mark.parametrize("count", [SIX, MANY])
async def test_postfix_loses_nothing_by_kills(
    start_postfix: StartPostfix, tmp_path: Path, door: str, relay: str, count: int
) -> None:
    async with house(tmp_path, seed()) as run:
        postfix = await start_postfix(relay=relay.format(run.ports[door]))
        await faulted(run, RealUpstream(run.books, postfix), count)


@pytest.mark.parametrize(("door", "protocol"), [("lmtp", "lmtp"), ("mta", "smtp")])
@pytest.mark.parametrize("count", [SIX, MANY])
async def test_exim_loses_nothing_by_kills(
    start_exim: StartExim, tmp_path: Path, door: str, protocol: str, count: int
) -> None:
    async with house(tmp_path, seed()) as run:
        run.load = 12.0
        transports = EXIM_TRANSPORTS.format(port=run.ports[door], protocol=protocol)
        exim = await start_exim(relay={"routers": EXIM_ROUTERS, "transports": transports})
        await faulted(run, RealUpstream(run.books, exim), count)
        assert (" PRDR " in exim.log()) == (protocol == "smtp")
