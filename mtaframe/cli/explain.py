"""``mtaframe explain``: what each plugin would do with a message, and where each recipient's copy would go.

Addresses and contents are shown on purpose: the message is the operator's own. Nothing is sent.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.printing import Failed, faulty, log_kept, print_json, printable
from mtaframe.cli.send import crlf

if TYPE_CHECKING:
    from mtaframe.address import Address
    from mtaframe.cli.rehearsal import Copy, Rehearsed
    from mtaframe.config import Configuration
    from mtaframe.delivery import Route
    from mtaframe.hook_call import Asked
    from mtaframe.message import Message
    from mtaframe.settings import ListenerSettings

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(short_help="What each plugin would do with a message.")
@click.argument("file", type=click.File("rb"))
@click.option("--from", "reverse_path", required=True, metavar="ADDRESS", help="The reverse-path; <> is the null one.")
@click.option("--to", "recipients", required=True, multiple=True, metavar="ADDRESS", help="A recipient; repeatable.")
@click.option("--account", metavar="NAME", help="As if a client had logged in for this account.")
@click.option("--listener", metavar="NAME", help="As if it came by this listener. Default: the first one.")
@click.option("--client", default="127.0.0.1", show_default=True, metavar="IP", help="As if it came from there.")
@conf_option
@json_option
def explain(
    file: BinaryIO,
    reverse_path: str,
    recipients: tuple[str, ...],
    account: str | None,
    listener: str | None,
    client: str,
    folder: Path,
    as_json: bool,
) -> None:
    """Take one message through all plugins, without delivering it, and show what each one did.

    FILE is the message (- is the standard input). The plugins are built from the configuration in this process;
    they ask DNS and whom else they must, and what the running server has in memory they do not know. Per recipient,
    the route is shown, and its MX hosts. The exit code is 1 if a recipient is refused.
    """
    from mtaframe.assembly import read
    from mtaframe.cli.rehearsal import rehearsed
    from mtaframe.config import ConfigError

    try:
        configuration = read(folder)
        walk = rehearsed(
            configuration,
            _listener(configuration, listener),
            crlf(file.read()),
            None if reverse_path == "<>" else _address(reverse_path, "--from"),
            [_address(text, "--to") for text in recipients],
            account=_account(configuration, account),
            client=_ip(client),
        )
        with log_kept():
            seen = asyncio.run(walk)
    except ConfigError as error:
        raise faulty(error, folder) from None
    told = Told(seen).all()
    print_json(told) if as_json else _print(told)
    refused = sum(recipient["route"] is None for recipient in told["recipients"])
    if refused:
        raise Failed(f"{refused} of {len(recipients)} recipients would not get this message")


def _address(text: str, option: str) -> "Address":
    from mtaframe.address import Address

    try:
        return Address.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint=option) from None


def _ip(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no IP address", param_hint="--client") from None


def _account(configuration: "Configuration", name: str | None) -> str | None:
    names = [account.name for account in configuration.accounts]
    if name is not None and name not in names:
        known = ", ".join(names) or "none at all"
        raise Failed(f'there is no account "{name}" in {configuration.folder / "accounts.toml"}; there is {known}')
    return name


def _listener(configuration: "Configuration", name: str | None) -> "ListenerSettings":
    listeners = [listener for listener in configuration.settings.listener if listener.kind != "http"]
    for listener in listeners:
        if name in (None, listener.name):
            return listener
    known = ", ".join(listener.name for listener in listeners) or "none at all"
    missing = "there is no listener" if name is None else f'there is no listener "{name}"; there is {known}'
    raise Failed(f"{missing}: see {configuration.folder / 'mtaframe.toml'}")


class Told:
    """A rehearsal as plain data. What the core did between two hooks shows as a step of its own."""

    def __init__(self, seen: "Rehearsed") -> None:
        self._seen = seen
        self._message = seen.message
        self._signed: dict[int, str] = {}

    def all(self) -> dict[str, Any]:
        seen = self._seen
        steps = [_step(asked) for asked in seen.on_connect]
        for address, _, asked in seen.on_rcpt:
            steps += [_step(each) | {"recipient": address.mailbox} for each in asked]
        steps += self._walked(seen.on_data, seen.prepared)
        copies = [self._copy(copy) for copy in seen.copies]
        return {
            "listener": seen.listener.name,
            "client": seen.session.client,
            "trusted": seen.session.trusted,
            "account": seen.envelope.account if seen.envelope else seen.session.account,
            "stream": seen.envelope.stream if seen.envelope else None,
            "too_big": seen.message.size > seen.listener.max_size,
            "reply": seen.reply.line if seen.reply else None,
            "steps": steps,
            "recipients": [*self._refused(), *copies],
        }

    def _refused(self) -> Iterator[dict[str, Any]]:
        """The recipients of whom no copy was made."""
        seen = self._seen
        if seen.reply is not None and not seen.on_rcpt:
            yield _end("all", "", seen.reply.line)
        for address, reply, asked in seen.on_rcpt:
            by = asked[-1].plugin if asked else "reception"
            if not reply.is_positive:
                yield _end(address.mailbox, by, reply.line)
            elif seen.stopped is not None:
                yield _end(address.mailbox, seen.stopped.by, seen.stopped.verdict.reply.line)
            elif not seen.copies and seen.reply is not None:
                yield _end(address.mailbox, self._deferred_by(), seen.reply.line)

    def _deferred_by(self) -> str:
        """Who deferred one recipient and so, on a listener for applications, the whole message."""
        from mtaframe.verdict import Defer

        everything = [asked for _, _, each in self._seen.on_rcpt for asked in each]
        return next((a.plugin for a in everything if a.fault or isinstance(a.answer, Defer)), "reception")

    def _copy(self, copy: "Copy") -> dict[str, Any]:
        if self._seen.prepared is not None:
            self._message = self._seen.prepared
        steps = self._walked(copy.asked, None)
        stopped = copy.stopped
        if stopped is None:
            shared = self._signed.setdefault(id(copy.delivery.message), copy.recipient.mailbox)
            if shared == copy.recipient.mailbox:
                steps += self._by_core(copy.delivery.message)
            elif copy.delivery.message != self._message:
                steps.append(_core_step([f"as for {shared}"]))
        end = _end(copy.recipient.mailbox, stopped.by, stopped.verdict.reply.line) if stopped else None
        reverse_path = copy.delivery.reverse_path
        return (end or _end(copy.recipient.mailbox)) | {
            "delivered_as": copy.delivery.recipient.address.mailbox,
            "reverse_path": reverse_path.mailbox if reverse_path else "",
            "size": copy.delivery.message.size,
            "steps": steps,
            "route": _route(copy.route) if copy.route and not stopped else None,
            "hosts": copy.hosts,
        }

    def _walked(self, asked: Sequence["Asked"], after: "Message | None") -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        for each in asked:
            if (message := _message_in(each.subject)) is not None:
                steps += self._by_core(message)
            steps.append(_step(each))
            if each.fault is None and (changed := _message_in(each.answer)) is not None:
                self._message = changed
        if after is not None:
            steps += self._by_core(after)
        return steps

    def _by_core(self, message: "Message") -> list[dict[str, Any]]:
        """What was changed outside of any hook call: our own fields, the form of 8-bit parts."""
        from mtaframe.cli.differences import message_diff

        diff = message_diff(self._message, message)
        self._message = message
        return [_core_step([], diff)] if diff else []


def _core_step(changes: list[str], diff: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "plugin": "mtaframe",
        "hook": "",
        "answer": "changed",
        "changes": changes,
        "diff": list(diff),
        "microseconds": None,
        "reply": None,
        "fault": None,
    }


def _step(asked: "Asked") -> dict[str, Any]:
    """One hook call: what the plugin said, and how that differs from what it was given."""
    from mtaframe.cli.differences import changes, message_diff
    from mtaframe.verdict import Defer, Discard, Reject

    answer, before = asked.answer, asked.subject
    verdict = answer if isinstance(answer, (Reject, Defer, Discard)) else None
    parts = answer if isinstance(answer, tuple) else (answer,)
    olds = before if isinstance(before, list) else [before]
    pairs = [(old, new) for new in parts for old in olds if type(old) is type(new)]
    diffs = [message_diff(old, new) for o, n in pairs if (old := _message_in(o)) and (new := _message_in(n))]
    said = "fault" if asked.fault else type(verdict).__name__.lower() if verdict else "changed" if pairs else "none"
    return {
        "plugin": asked.plugin,
        "hook": asked.hook,
        "answer": said,
        "changes": [line for old, new in pairs for line in changes(old, new)],
        "diff": [line for diff in diffs for line in diff],
        "microseconds": round(asked.took * 1e6),
        "reply": verdict.reply.line if verdict else None,
        "fault": asked.fault,
    }


def _message_in(value: object) -> "Message | None":
    from mtaframe.delivery import Delivery
    from mtaframe.message import Message

    if isinstance(value, (list, tuple)):
        return next((found for part in value if (found := _message_in(part)) is not None), None)
    if isinstance(value, Delivery):
        return value.message
    return value if isinstance(value, Message) else None


def _end(recipient: str, by: str = "", reply: str | None = None) -> dict[str, Any]:
    return {"recipient": recipient, "refused_by": by or None, "reply": reply, "steps": [], "route": None}


def _route(route: "Route") -> dict[str, Any]:
    return {
        "transport": route.transport,
        "next_hop": route.next_hop,
        "port": route.port,
        "tls": route.tls.value,
        "pool": route.pool,
        "source": {"name": route.source.name, "address": route.source.address, "ehlo": route.source.ehlo}
        if route.source
        else None,
        "credentials": route.credentials is not None,
    }


def _print(told: dict[str, Any]) -> None:
    trusted = "trusted" if told["trusted"] else "not trusted"
    account = f"account {told['account'] or 'none'}" + (f", stream {told['stream']}" if told["stream"] else "")
    click.secho(f"{told['listener']}: client {told['client'] or 'on a Unix socket'} ({trusted}), {account}", bold=True)
    if told["too_big"]:
        click.secho('larger than the listener\'s "max_size": it would be refused before any plugin sees it', fg="red")
    for step in told["steps"]:
        _print_step(step)
    for recipient in told["recipients"]:
        click.secho(f"\nto {printable(recipient['recipient'])}", bold=True)
        for step in recipient["steps"]:
            _print_step(step)
        _print_end(recipient)


def _print_step(step: dict[str, Any]) -> None:
    colour = {"changed": "yellow", "none": None}.get(step["answer"], "red")
    took = "" if step["microseconds"] is None else f"  {step['microseconds']} µs"
    said = step["reply"] or step["fault"]
    of = f"  to {step['recipient']}" if step.get("recipient") else ""
    line = f"  {step['hook']:<11} {step['plugin']:<16} {click.style(step['answer'], fg=colour)}{took}{of}"
    click.echo(f"{line}  {printable(said)}" if said else line)
    for change in step["changes"]:
        click.echo(f"      {printable(change)}")
    for diff in step["diff"]:
        click.secho(f"      {printable(diff)}", fg=_COLOURS.get(diff[:1]))


def _print_end(recipient: dict[str, Any]) -> None:
    route = recipient["route"]
    if route is None:
        by = f" by {recipient['refused_by']}" if recipient["refused_by"] else ""
        click.secho(f"  refused{by}: {printable(recipient['reply'])}", fg="red")
        return
    where = f"{route['next_hop']}:{route['port']}" if route["next_hop"] else ""
    if route["next_hop"] and route["next_hop"].startswith("/"):
        where = route["next_hop"]
    parts = [
        f"{route['transport']} {where}".strip(),
        f"tls {route['tls']}",
        f"pool {route['pool']}" if route["pool"] else "",
        "source {name} ({address}, EHLO {ehlo})".format(**route["source"]) if route["source"] else "",
        "with credentials" if route["credentials"] else "",
    ]
    click.secho(f"  route: {', '.join(part for part in parts if part)}", fg="green")
    if recipient["delivered_as"] != recipient["recipient"]:
        click.echo(f"  delivered to {printable(recipient['delivered_as'])}")
    click.echo(f"  reverse-path <{printable(recipient['reverse_path'])}>, {recipient['size']} octets")
    for host in recipient["hosts"] or ():
        click.echo(f"  {printable(host)}")
