"""What no single table of the configuration can know: names that must exist, must be unique, must fit each other.

Findings are places in ``conf/mtaframe.toml`` or ``conf/accounts.toml``; only the check of certificates reads files.
"""

import ipaddress
import os
import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping

from mtaframe.account import Status
from mtaframe.account_settings import AccountSettings, AccountsSettings
from mtaframe.explanation import Finding, guess
from mtaframe.notation import Endpoint
from mtaframe.settings import ListenerSettings, Settings
from mtaframe.toml_position import Path


def of_settings(settings: Settings) -> list[Finding]:
    """What is wrong or risky in ``conf/mtaframe.toml`` taken by itself."""
    return [
        *_repeated(
            ((("listener", i, "name"), listener.name) for i, listener in enumerate(settings.listener)),
            'another listener is named "{}" already',
        ),
        *_repeated(
            ((("plugins", i), name) for i, name in enumerate(settings.plugins)), 'the plugin "{}" is listed already'
        ),
        *_addresses(settings),
        *_route(settings),
        *_tls_files(settings),
        *_grants(settings),
        *_open_doors(settings),
        *_memory(settings),
        *_line_ends(settings),
        *_keys(settings),
        *_handoff(settings),
        *_keepers(settings),
    ]


def of_accounts(accounts: AccountsSettings) -> list[Finding]:
    """What is wrong in ``conf/accounts.toml`` taken by itself."""
    listed = list(enumerate(accounts.account))
    return [
        *_repeated(((("account", i, "name"), a.name) for i, a in listed), 'another account is named "{}" already'),
        *_repeated(
            ((("account", i, "credential", j, "user"), c.user) for i, a in listed for j, c in enumerate(a.credential)),
            "another credential has this user name already",
        ),
        *_repeated(
            ((("account", i, "domains", j), domain) for i, a in listed for j, domain in enumerate(a.domains)),
            'the domain "{}" is in this file already',
        ),
        *_repeated(
            ((("account", i, "token", j, "id"), t.id) for i, a in listed for j, t in enumerate(a.token)),
            "another token has this id already",
        ),
        *(
            finding
            for i, a in listed
            for finding in _repeated(
                ((("account", i, "token", j, "name"), t.name) for j, t in enumerate(a.token)),
                'another token of this account is named "{}" already',
            )
        ),
        *_parents(accounts),
    ]


def between(settings: Settings, accounts: AccountsSettings) -> list[Finding]:
    """Places in ``conf/mtaframe.toml`` that name an account which does not exist."""
    names = {account.name for account in accounts.account}
    return [
        Finding(("listener", i, "account"), f'there is no account "{name}"{guess(name, names)}')
        for i, listener in enumerate(settings.listener)
        if (name := listener.account) is not None and name not in names
    ]


def accounts_with(settings: Settings, accounts: AccountsSettings) -> list[Finding]:
    """Places in ``conf/accounts.toml`` that do not fit ``conf/mtaframe.toml``."""
    return [
        finding
        for i, account in enumerate(accounts.account)
        for finding in (
            *_keeper(settings, ("account", i, "on_defer"), account.on_defer),
            *_unheeded(settings, ("account", i), account),
        )
    ]


_HEEDED_BY = {
    "status": ("admission",),
    "quota": ("admission", "usage"),
    "pool": ("ip_pools",),
    "per_hour": ("thresholds",),
    "per_day": ("thresholds",),
}
"""Keys of an account that say nothing to the core: which bundled plugins do what they say."""


def _unheeded(settings: Settings, place: Path, account: AccountSettings) -> Iterator[Finding]:
    """A suspension that suspends nobody must not go unnoticed."""
    for key, plugins in _HEEDED_BY.items():
        missing = [plugin for plugin in plugins if plugin not in settings.plugins]
        if missing and getattr(account, key) not in (None, Status.APPROVED):
            text = f'nobody heeds it, for the plugin "{missing[0]}" is not listed in mtaframe.toml'
            yield Finding((*place, key), text, "warning")


def with_transports(settings: Settings, transports: Mapping[str, bool]) -> list[Finding]:
    """Whether the default route's transport exists, and may be used: each name says whether it is test_only."""
    name, place = settings.route.transport, ("route", "transport")
    if name not in transports:
        offer = guess(name, transports) or "; is the plugin that offers it listed?"
        return [Finding(place, f'there is no transport "{name}"{offer}')]
    reachable = [listener.name for listener in settings.listener if not _is_local(listener)]
    if transports[name] and reachable:
        return [
            Finding(
                place,
                f'the transport "{name}" keeps mail on this machine and is for trials only, but the listener '
                f'"{reachable[0]}" can be reached from elsewhere',
            )
        ]
    return []


def with_hooks(settings: Settings, hooks: Mapping[str, Collection[str]]) -> list[Finding]:
    """Whether the list of plugins reads as the walk goes: ``hooks`` are those that each plugin implements.

    A signature is made after every change, wherever the signer stands; two that sign do so in the order listed.
    """
    changing = ("on_data", "before_sign")
    found: list[Finding] = []
    for i, signer in enumerate(settings.plugins):
        later = [p for p in settings.plugins[i + 1 :] if not {*changing}.isdisjoint(hooks.get(p, ()))]
        if "sign" not in hooks.get(signer, ()) or not later:
            continue
        text = f'"{signer}" signs what "{later[-1]}" may have changed: list it behind "{later[-1]}"'
        found.append(Finding(("plugins", i), text, "warning"))
    return found


def with_order(settings: Settings, behind: Mapping[str, Collection[str]]) -> list[Finding]:
    """Whether each plugin stands behind those that it says it must: ``behind`` has their names."""
    return [
        Finding(("plugins", i), f'"{name}" must see what "{late}" does: list it behind "{late}"', "warning")
        for i, name in enumerate(settings.plugins)
        for late in settings.plugins[i + 1 :]
        if late in behind.get(name, ())
    ]


def with_routes(settings: Settings, serving: Collection[str]) -> list[Finding]:
    """Whether what is served by HTTP has a door, and a door something to serve: ``serving`` are plugins with routes."""
    doors = [i for i, listener in enumerate(settings.listener) if listener.kind == "http"]
    if doors and not serving:
        text = 'no listed plugin serves anything by HTTP: list "http_api", or every path is a 404'
        return [Finding(("listener", doors[0], "kind"), text, "warning")]
    if serving and not doors:
        text = "it serves HTTP, and there is no listener of that kind"
        return [Finding(("plugins", i), text, "warning") for i, name in enumerate(settings.plugins) if name in serving]
    return []


def _repeated(entries: Iterable[tuple[Path, str]], text: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, value in entries:
        if value in seen:
            yield Finding(path, text.format(value))
        seen.add(value)


def _is_local(listener: ListenerSettings) -> bool:
    return all(Endpoint(address).is_local for address in listener.addresses)


def _addresses(settings: Settings) -> Iterator[Finding]:
    if not settings.listener:
        yield Finding(("listener",), "there is no listener: nobody can send mail here", "warning")
    for i, listener in enumerate(settings.listener):
        earlier = {a: other.name for other in settings.listener[:i] for a in other.addresses}
        for j, address in enumerate(listener.addresses):
            if address in earlier and not str(address).endswith(":0"):
                yield Finding(("listener", i, "addresses", j), f'the listener "{earlier[address]}" has this address')


def _route(settings: Settings) -> Iterator[Finding]:
    if settings.route.transport == "lmtp" and settings.route.next_hop is None:
        yield Finding(("route", "transport"), 'LMTP needs "next_hop": no MX record leads to an LMTP server')


def _tls_files(settings: Settings) -> Iterator[Finding]:
    for i, listener in enumerate(settings.listener):
        if listener.tls != "off" and listener.certificate and listener.key:
            yield from _certificate(("listener", i), listener.certificate, listener.key)
    if (file := settings.route.ca_file) and (trouble := _unreadable(file)):
        yield Finding(("route", "ca_file"), trouble)


def _certificate(place: Path, certificate: str, key: str) -> Iterator[Finding]:
    unreadable = [
        Finding((*place, name), trouble)
        for name, file in (("certificate", certificate), ("key", key))
        if (trouble := _unreadable(file))
    ]
    yield from unreadable
    if unreadable:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError):
        yield Finding((*place, "certificate"), "certificate and key are not PEM, or do not belong together")


def _unreadable(file: str) -> str | None:
    try:
        with open(file, "rb") as opened:
            opened.read(1)
    except OSError as error:
        return f"the file can't be read: {error.strerror}"
    return None


def _grants(settings: Settings) -> Iterator[Finding]:
    for name, grants in settings.plugin.items():
        place = ("plugin", name)
        if name not in settings.plugins:
            text = f'the plugin "{name}" is not listed in "plugins"{guess(name, settings.plugins)}'
            yield Finding(place, text, "warning")
            continue
        if grants.on_fault == "skip":
            yield Finding((*place, "on_fault"), "a fault in this plugin lets mail pass without it", "warning")
        if grants.allow_discard:
            yield Finding((*place, "allow_discard"), "this plugin may say 250 to mail that goes nowhere", "warning")


def _open_doors(settings: Settings) -> Iterator[Finding]:
    for i, listener in enumerate(settings.listener):
        for j, network in enumerate(listener.trusted):
            if network.prefixlen == 0:
                yield Finding(("listener", i, "trusted", j), "everybody may relay through this listener", "warning")
        if listener.auth and listener.auth_without_tls and not _is_local(listener):
            yield Finding(("listener", i, "auth_without_tls"), "passwords travel in clear", "warning")
        if listener.kind == "http" and listener.tls == "off" and not _is_local(listener):
            yield Finding(("listener", i, "tls"), "tokens and mail travel in clear", "warning")


def _memory(settings: Settings) -> Iterator[Finding]:
    """Half of what a worker may have in flight is what one account may have beside others."""
    workers = settings.workers if settings.workers != "auto" else len(os.sched_getaffinity(0))
    for i, listener in enumerate(settings.listener):
        needed = listener.max_size * workers * 2
        if needed > settings.max_in_flight:
            text = f"such a message may never fit into max_in_flight: make that at least {_megabytes(needed)}"
            yield Finding(("listener", i, "max_size"), text, "warning")


def _megabytes(octets: int) -> str:
    return f'"{-(-octets // 1_000_000)} MB"'


def _line_ends(settings: Settings) -> Iterator[Finding]:
    """Whoever mends what strangers send lends his good name to what a laxer server would have read otherwise."""
    for i, listener in enumerate(settings.listener):
        place = ("listener", i, "bare_newline")
        if listener.bare_newline != "normalize":
            continue
        if listener.relay_domains:
            yield Finding(
                place, 'strangers may send here (relay_domains), and their bare line ends are only "reject"ed'
            )
        elif not (listener.trusted or _has_auth(listener) or any(Endpoint(a).path for a in listener.addresses)):
            yield Finding(
                place, "nobody is trusted here and AUTH is off: there is nobody whose line ends may be mended"
            )


def _has_auth(listener: ListenerSettings) -> bool:
    return listener.auth and (listener.auth_without_tls or listener.tls != "off")


def _keepers(settings: Settings) -> Iterator[Finding]:
    for i, listener in enumerate(settings.listener):
        place = ("listener", i, "on_defer")
        yield from _keeper(settings, place, listener.on_defer)
        host = settings.handoff
        if listener.on_defer == "handoff" and host is not None and host.reserve >= listener.seconds_of_patience:
            text = (
                'the "reserve" of [handoff] takes all of the patience: nothing would be tried before it is handed off'
            )
            yield Finding(place, text)


def _keeper(settings: Settings, place: Path, on_defer: str | None) -> Iterator[Finding]:
    """Whether mail that is deferred finds its keeper."""
    if on_defer == "handoff" and settings.handoff is None:
        yield Finding(place, "there is no [handoff]: name the smart host that takes what is deferred")
    if on_defer == "hold" and settings.handoff is None:
        yield Finding(
            place, "mail in RAM needs a smart host as its refuge when the server stops: there is no [handoff]"
        )
    elif on_defer == "hold":
        text = "250 is said to mail that is only in RAM: it is lost if the process is killed or the machine fails"
        yield Finding(place, text, "warning")


def _handoff(settings: Settings) -> Iterator[Finding]:
    """A smart host that is one of our own listeners would hand back to us what we can't deliver."""
    host = settings.handoff
    if host is None:
        return
    for listener in settings.listener:
        if any(_leads_to(host.next_hop, host.port, Endpoint(a), settings.hostname) for a in listener.addresses):
            text = f'this is the listener "{listener.name}" of this server: mail would be handed off in a circle'
            yield Finding(("handoff", "next_hop"), text)


def _leads_to(next_hop: str, port: int, endpoint: Endpoint, hostname: str) -> bool:
    """Whether a connection to the next hop ends at the endpoint, as far as the configuration tells."""
    if endpoint.path is not None or next_hop.startswith("/"):
        return endpoint.path == next_hop
    if endpoint.port != port:
        return False
    listening = ipaddress.ip_address(endpoint.host)
    if next_hop in (hostname, "localhost"):
        return next_hop == hostname or listening.is_loopback or listening.is_unspecified
    try:
        address = ipaddress.ip_address(next_hop.strip("[]"))
    except ValueError:
        return False
    everywhere = listening.is_unspecified and address.version == listening.version
    return address == listening or (everywhere and address.is_loopback)


def _keys(settings: Settings) -> Iterator[Finding]:
    """Said where the state has a place of its own; a trial run in the user's folder needs no second one."""
    state = settings.state
    is_placed = state.folder is not None or "STATE_DIRECTORY" in os.environ
    credential = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), "mtaframe.keys")
    if state.backend != "memory" and is_placed and state.keys is None and not os.path.exists(credential):
        text = "the keys lie beside what they protect, so that one copy has both; see docs/state.md for other places"
        yield Finding(("state", "keys"), text, "warning")


def _parents(accounts: AccountsSettings) -> Iterator[Finding]:
    parents = {account.name: account.parent for account in accounts.account}
    for i, account in enumerate(accounts.account):
        place = ("account", i, "parent")
        if account.parent is not None and account.parent not in parents:
            yield Finding(place, f'there is no account "{account.parent}"{guess(account.parent, parents)}')
            continue
        above, steps = account.parent, 0
        while above is not None and above != account.name and steps <= len(parents):
            above, steps = parents.get(above), steps + 1
        if above == account.name:
            yield Finding(place, "the account is its own parent, by way of this one")
