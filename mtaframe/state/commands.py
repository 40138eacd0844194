"""What ``mtaframe state …`` asks of the process that owns the state; answers are plain data."""

import base64
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mtaframe.lifecycle import CommandError
from mtaframe.state.memory import BUCKET, named
from mtaframe.state.owned import OwnedState, StateError
from mtaframe.state.storage import TROUBLES
from mtaframe.storage import PURGES, Counter

WEEK = 7
"""Days, today among them."""

Change = Callable[[Counter, int, int], Awaitable[bool]]


async def answer(
    state: OwnedState, name: str, arguments: Mapping[str, Any], change: Change | None = None
) -> dict[str, Any]:
    """``state.show``, ``state.export``, ``state.purge``, ``state.retire``. CommandError says why not.

    ``change`` changes a register for all processes; without, there is only this one.
    """
    try:
        match name:
            case "state.show":
                return await _show(state)
            case "state.export":
                return await _export(state, _account(arguments))
            case "state.purge":
                return await _purge(state, _account(arguments), change or state.registers.change)
            case "state.retire":
                await state.forget_key(str(arguments["purpose"]), str(arguments["key"]))
                return {}
    except (StateError, ValueError) as error:
        raise CommandError(str(error)) from None
    except TROUBLES:
        raise CommandError(f"the state can't be read or written now: {state.trouble or 'try again'}") from None
    raise CommandError(f"there is no call {name}")


def _account(arguments: Mapping[str, Any]) -> str:
    account = str(arguments["account"])
    named(account)
    return account


async def _show(state: OwnedState) -> dict[str, Any]:
    digests, documents, needed = await _counts(state)
    return {
        "folder": str(state.folder) if state.folder is not None else None,
        "size": _size(state),
        "trouble": state.trouble,
        "ledger": len(list(state.ledger_rows())),
        "counters": _counters(state),
        "digests": [{"purpose": what, "key": key, "count": count} for (what, key), count in sorted(digests.items())],
        "documents": [{"account": who, "key": key, "count": count} for (who, key), count in sorted(documents.items())],
        "keys": [
            {"purpose": purpose, "key": key, "newest": key == keys[0][0], "rows": needed.get((purpose, key), 0)}
            for purpose, keys in state.keyring.keys.items()
            for key, _ in keys
        ],
    }


async def _counts(state: OwnedState) -> tuple[Mapping[tuple[str, str], int], ...]:
    """Of digests, documents, and rows by key; without a disk nobody knows."""
    try:
        return await state.digests.table.counts(), await state.documents.counts(), await state.keys_needed()
    except TROUBLES:
        return {}, {}, {}


def _size(state: OwnedState) -> int:
    """Octets of all files."""
    if state.folder is None or not state.folder.is_dir():
        return 0
    return sum(path.stat().st_size for path in state.folder.glob("state.db*"))


def _counters(state: OwnedState) -> list[dict[str, Any]]:
    """Per account and name, today and in a week; streams, sources and sites together."""
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for place, days in enumerate((0, WEEK - 1)):
        for counter, total in state.counters.totals(days).items():
            sums[counter.account, counter.name][place] += total
    return [
        {"account": account, "counter": name, "today": today, f"{WEEK} days": week}
        for (account, name), (today, week) in sorted(sums.items())
    ]


async def _export(state: OwnedState, account: str) -> dict[str, Any]:
    return {
        "account": account,
        "documents": [
            {"kind": kind, "name": name, **_content(content)}
            for kind, name, content in await state.documents.of(account)
        ],
        "counters": [
            {**_about(counter), "hour": datetime.fromtimestamp(hour * BUCKET, UTC).isoformat(), "amount": amount}
            for counter, hour, amount in state.counters.rows()
            if counter.account == account
        ],
        "registers": [
            {**_about(register), "value": value}
            for register, value in state.registers.rows()
            if register.account == account
        ],
    }


async def _purge(state: OwnedState, account: str, change: Change) -> dict[str, Any]:
    documents = await state.documents.of(account)
    counters = {counter for counter, _, _ in state.counters.rows() if counter.account == account}
    registers = [register for register, _ in state.registers.rows() if register.account == account]
    await state.documents.drop(account)
    await state.counters.clear(counters)
    # Before its registers: whoever sees that one is 0 reads the figures anew before deciding by them.
    await _set(state, change, PURGES, state.registers.value(PURGES) + 1)
    for register in registers:
        await _set(state, change, register, 0)
    await state.shrink()
    if state.trouble is not None:
        raise StateError(f"it is erased in RAM alone, and on the disk once that can be written: {state.trouble}")
    return {"documents": len(documents), "counters": len(counters), "registers": len(registers)}


async def _set(state: OwnedState, change: Change, register: Counter, after: int) -> None:
    """Whoever else changes it meanwhile."""
    while (before := state.registers.value(register)) != after:
        await change(register, before, after)


def _about(counter: Counter) -> dict[str, str]:
    return {"name": counter.name, "stream": counter.stream, "source": counter.source, "site": counter.site}


def _content(content: bytes) -> dict[str, str]:
    try:
        return {"text": content.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
