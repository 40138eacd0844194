"""Who the client is: banner, EHLO, STARTTLS and AUTH, and what a believed server tells by XCLIENT and XFORWARD."""

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from mtaframe.envelope import Session
from mtaframe.guard import BANNED, Visit
from mtaframe.reception import Transaction
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import forwarding, replies
from mtaframe.smtp_server.authentication import NOT_AUTHENTICATED, credentials
from mtaframe.smtp_server.commands import LONGEST_LINE, is_ehlo_name
from mtaframe.smtp_server.offer import Offer
from mtaframe.smtp_server.tolerance import Tolerance
from mtaframe.smtp_server.wire import log

if TYPE_CHECKING:
    from mtaframe.smtp_server.server import SmtpServer

_MOST_AUTH_FAILURES = 3


class Introduction(Tolerance):
    """What of a session comes before its transactions. ``proxied``: the client's address, as a proxy told it."""

    longest_line = LONGEST_LINE

    _is_believed = False
    _auth_failures = 0

    __slots__ = (
        "_client", "_forwarded", "_is_extended", "_is_lmtp", "_offered", "_proxied", "_server", "_transaction",
    )  # fmt: skip

    def __init__(
        self,
        server: "SmtpServer",
        loop: asyncio.AbstractEventLoop,
        proxied: str | None = None,
        visit: Visit | None = None,
    ) -> None:
        super().__init__(loop, visit or Visit())
        self._server = server
        self._proxied = proxied
        self._is_lmtp = server.settings.kind == "lmtp"
        self._timeout_duration = server.settings.idle_timeout
        self._client = server.session_for(os.urandom(8).hex(), None)
        self._forwarded: dict[str, str] = {}
        self._is_extended = False
        self._offered: tuple[ListenerSettings, Session, Offer] | None = None
        self._transaction: Transaction | None = None

    @property
    def _is_stranger(self) -> bool:
        return not (self._client.trusted or self._client.account is not None or self._is_believed)

    @property
    def is_fruitful(self) -> bool:
        """Whether the client has logged in, or sent a message."""
        return self._brought_at > self._came_at or self._client.account is not None

    async def _greet(self) -> bool:
        if self.visit.refusal is not None:
            self.say(self.visit.refusal)
            return False
        if self._server.is_full:
            self.say(replies.FULL)
            return False
        self._client = self._server.session_for(self._client.id, self.transport, self._proxied)
        self._is_believed = self._server.believes(self._client.client)
        if not (self._client.client or self._client.trusted):
            return False  # it is gone already, and whoever asks for its address would take it for a Unix socket
        return await self._is_welcome()

    async def _is_welcome(self) -> bool:
        """Whether *on_connect* lets the client in; says the banner that tells it."""
        try:
            answer = await self._server.reception.connect(self._client)
        except Exception as error:
            self._tell(error)
            answer = replies.CANT_GREET
        if isinstance(answer, Reply):
            self.say(answer)
            return False
        self._client = answer
        self.say_text(f"220 {self._server.hostname} {'LMTP' if self._is_lmtp else 'ESMTP'} mtaframe")
        return True

    # greeting

    async def _ehlo(self, name: str) -> None:
        if not self._is_called(name):
            return
        self._is_extended = True
        self._identify(ehlo=name)
        self.say_text(self._offer.ehlo(self._server.hostname))
        self._count_idle()

    async def _helo(self, name: str) -> None:
        if self._is_called(name):
            self._is_extended = False
            self._identify(ehlo=name)
            self.say_text(f"250 {self._server.hostname}")
            self._count_idle()

    @property
    def _offer(self) -> Offer:
        """What holds for this client now.

        No DSN for strangers where they may send at all: a report of success would go to whatever address they write.
        """
        settings, session = self._server.settings, self._client
        if self._offered is not None and self._offered[0] is settings and self._offered[1] is session:
            return self._offered[2]
        offer = Offer(
            settings.max_size,
            starttls=settings.tls == "starttls" and not self.is_secured,
            auth=self._offers_auth,
            dsn=not settings.relay_domains or session.trusted or session.account is not None,
            prdr=not self._is_lmtp,
            recipients=settings.max_recipients if settings.kind == "mta" else 0,
            forwarding=self._is_believed,
        )
        self._offered = settings, session, offer
        return offer

    def _is_called(self, name: str) -> bool:
        """Whether the client has a name that we can repeat; a transaction under way ends (RFC 5321 §4.1.4)."""
        if not is_ehlo_name(name):
            self._complain(replies.BAD_EHLO_NAME)
            return False
        self._forget()
        return True

    def _identify(self, ehlo: str, **changes: str | None) -> None:
        """The session with what is known now, and its protocol by RFC 3848."""
        session: Session = replace(self._client, ehlo=ehlo, **changes)  # type: ignore[arg-type]
        kind = "LMTP" if self._is_lmtp else "ESMTP" if self._is_extended else "SMTP"
        if kind != "SMTP":
            kind += ("S" if self.is_secured else "") + ("A" if session.account else "")
        self._client = replace(session, protocol=kind)

    async def _starttls(self, argument: str) -> None:
        certificates = self._server.certificates
        if argument:
            self._complain(replies.NO_ARGUMENT)
        elif self.is_secured or self._transaction is not None:
            self._complain(replies.STARTTLS_OUT_OF_PLACE)
        elif certificates is None or self._server.settings.tls != "starttls":
            self._complain(replies.NO_STARTTLS)
        elif self.framing.input:
            # whatever came with STARTTLS would count as said under TLS: an attack, or a broken client
            self._end(replies.INJECTED)
        else:
            self.say(Reply(220, "2.0.0", "go ahead"))
            await self._secure(certificates)
            self._is_extended = False
            self._forget()
            assert self.transport is not None
            version = self.transport.get_extra_info("ssl_object").version()
            self._identify(ehlo="", tls=version, account=None)

    # AUTH

    @property
    def _offers_auth(self) -> bool:
        settings = self._server.settings
        return settings.auth and (self.is_secured or settings.auth_without_tls)

    async def _auth(self, argument: str) -> None:
        if not self._is_extended or self._client.account or self._transaction is not None:
            self._complain(replies.AUTH_OUT_OF_PLACE)
        elif not self._server.settings.auth:
            self._complain(replies.NO_AUTH)
        elif not self._offers_auth:
            self._complain(replies.AUTH_NEEDS_TLS)
        else:
            said = await credentials(argument, self._ask)
            if isinstance(said, Reply) and said is not NOT_AUTHENTICATED:
                self._complain(said)
                return
            guesser = "" if self._client.trusted else self._client.client
            if guesser and not await self._may_guess(guesser):
                self._end(BANNED)
                return
            refusal = await self._authenticated(said)
            if refusal is None:
                self.say(Reply(235, "2.7.0", "authenticated"))
                return
            self.say(refusal)
            if refusal.is_permanent:
                self._failed_to_log_in(guesser)

    async def _may_guess(self, client: str) -> bool:
        """Whether a password from there is looked at, once its delay is over: the same for right and wrong ones."""
        guard = self._server.guard
        if not guard.is_banned(client) and (delay := guard.delay(client)):
            await self._rest(delay)
        return not guard.is_banned(client)

    def _failed_to_log_in(self, client: str) -> None:
        guard = self._server.guard
        if client and guard.failed(client):
            seconds = guard.settings.auth_ban
            log.warning(
                "logins banned session=%s listener=%s seconds=%d", self._client.id, self._client.listener, seconds
            )
        self._auth_failures += 1
        if self._auth_failures >= _MOST_AUTH_FAILURES:
            self._end(replies.TOO_MANY_FAILURES)

    async def _ask(self, text: str) -> bytes | None:
        self.say_text(f"334 {text}")
        return await self._line()

    async def _authenticated(self, said: tuple[str, str] | Reply) -> Reply | None:
        """The refusal; None if the session has its account now."""
        if isinstance(said, Reply):
            return said
        answer = await self._server.reception.authenticate(self._client, *said)
        if isinstance(answer, Reply):
            return answer
        self._client = answer
        self._identify(ehlo=answer.ehlo)
        return None

    # XCLIENT and XFORWARD

    async def _xclient(self, argument: str) -> None:
        """Another client stands in the place of the one that speaks, and the session begins anew."""
        told = self._told(argument, forwarding.XCLIENT)
        if told is None:
            return
        known = self._client
        client = told.get("ADDR", known.client)
        self._is_extended = told.get("PROTO", "").upper() == "ESMTP"
        self._client = Session(
            id=known.id,
            client=client,
            listener=known.listener,
            protocol="LMTP" if self._is_lmtp else "SMTP",
            tls=known.tls,
            trusted=self._server.trusts(client) if "ADDR" in told else known.trusted,
        )
        if await self._is_welcome():
            account = await self._server.reception.account_of(told["LOGIN"]) if told.get("LOGIN") else None
            self._identify(ehlo=told.get("HELO", ""), account=account)
        else:
            self._is_over = True

    async def _xforward(self, argument: str) -> None:
        told = self._told(argument, forwarding.XFORWARD)
        if told is not None:
            self._forwarded |= told
            self.say(Reply(250, "2.0.0", "ok"))

    def _told(self, argument: str, names: frozenset[str]) -> dict[str, str] | None:
        """The attributes told, if they may be told now."""
        if not self._is_believed:
            self._complain(replies.NO_FORWARDING)
        elif self._transaction is not None:
            self._complain(replies.UNDER_WAY)
        else:
            try:
                return forwarding.attributes(argument, names)
            except ValueError:
                self._complain(replies.BAD_ATTRIBUTE)
        return None

    async def _proxy(self, argument: str) -> None:
        """A PROXY header from somebody who is no proxy to us: what comes behind it would be said for another."""
        log.warning("proxy not believed listener=%s reason=not in proxy_from", self._client.listener)
        self._end(replies.NOT_PROXIED)

    # commands that bring no message nearer

    async def _rset(self, argument: str) -> None:
        if argument:
            self._complain(replies.NO_ARGUMENT)
            return
        self._forget()
        self._idle(replies.OK)

    async def _noop(self, argument: str) -> None:
        self._idle(replies.OK)

    async def _vrfy(self, argument: str) -> None:
        self._idle(Reply(252, "2.5.0", "send mail to find out"))

    async def _expn(self, argument: str) -> None:
        self._complain(Reply(502, "5.5.1", "no lists are kept here"))

    # in general

    def _forget(self) -> None:
        """No transaction is under way any more, and what XFORWARD told held for no other."""
        self._transaction = None
        self._forwarded = {}

    def _tell(self, error: Exception) -> None:
        log.error("internal_error session=%s listener=%s", self._client.id, self._client.listener, exc_info=error)
