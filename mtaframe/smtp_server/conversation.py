"""One client's session: which commands it may say when, and what reception answers (RFC 5321 §4, RFC 2033).

The law: whatever goes wrong in here is "try again" (451 4.3.0), and a transaction that was answered is either
proven, because the client went on, or unproven, exactly once.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mtaframe.envelope import Session
from mtaframe.message import has_bare_line_end
from mtaframe.reception import Transaction
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import replies
from mtaframe.smtp_server.authentication import NOT_AUTHENTICATED, credentials
from mtaframe.smtp_server.commands import (
    LINE_TOO_LONG,
    LONGEST_LINE,
    TOO_BIG,
    is_ehlo_name,
    parse_line,
    parse_mail,
    parse_rcpt,
)
from mtaframe.smtp_server.wire import Ended, Wire, log

if TYPE_CHECKING:
    from mtaframe.smtp_server.server import SmtpServer

_MOST_ERRORS = 20
_MOST_AUTH_FAILURES = 3
_PROOF_TIME = 5.0
"""Seconds that a client gets to prove that it has read its reply, when we are about to end the session."""

Do = Callable[["Conversation", str], Awaitable[None]]


class Conversation(Wire):
    """A session from the banner to its end."""

    longest_line = LONGEST_LINE

    def __init__(self, server: "SmtpServer", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._server = server
        self._is_lmtp = server.settings.kind == "lmtp"
        self._timeout_duration = server.settings.idle_timeout
        self._table = _LMTP_COMMANDS if self._is_lmtp else _SMTP_COMMANDS
        self._client = server.session_for(os.urandom(8).hex(), None)
        self._is_extended = False
        self._terms: ListenerSettings = server.settings  # the settings that the transaction began with
        self._transaction: Transaction | None = None
        self._unproven: list[Transaction] = []
        self._errors = 0
        self._auth_failures = 0
        self._is_completing = False
        self._has_quit = False
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.welcome(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._server.forget(self)

    def _vanished(self, *, in_order: bool) -> None:
        """Going while it waits, a client ends our work; going later, it may prove that it has read its replies."""
        if self._is_completing:
            if self.task is not None:
                self.task.cancel()
        elif self.input.find(b"\r\n", self._early) >= 0 or (in_order and self._all_was_read()):
            self._settle(proven=True)

    async def _conversation(self) -> None:
        try:
            if await self._greet():
                while not self._is_over:
                    await self._obey(await self._line())
        finally:
            self._settle(proven=False)
            self._transaction = None  # it keeps a generation alive

    async def _greet(self) -> bool:
        if self._server.is_full:
            self.say(replies.FULL)
            return False
        self._client = self._server.session_for(self._client.id, self.transport)
        if not (self._client.client or self._client.trusted):
            return False  # it is gone already, and whoever asks for its address would take it for a Unix socket
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

    async def _obey(self, line: bytes | None) -> None:
        if not self._line_was_early:
            self._settle(proven=True)
        command = LINE_TOO_LONG if line is None else parse_line(line)
        if isinstance(command, Reply):
            self._complain(command)
            return
        if self._server.is_draining and self._transaction is None and command.verb != "QUIT":
            self._end(replies.STOPPING)
            return
        do = self._table.get(command.verb)
        if do is None:
            self._complain(replies.UNKNOWN)
            return
        try:
            await do(self, command.argument)
        except Ended:
            raise
        except Exception as error:
            self._tell(error)
            self.say(replies.INTERNAL_ERROR)
        if self._server.is_draining and self._transaction is None and not (self._unproven or self._is_over):
            self._end(replies.STOPPING)

    def retire(self) -> None:
        """While the server stops: ends a session that is under no transaction, once its last reply is proven."""
        if self._waiter is None or self._waits_since is None or self._transaction is not None or self._has_quit:
            return
        if not self._unproven or self.loop.time() - self._waits_since > _PROOF_TIME:
            self.dismiss(replies.STOPPING)

    # greeting

    async def _ehlo(self, name: str) -> None:
        if not self._is_called(name):
            return
        self._is_extended = True
        self._identify(ehlo=name)
        settings = self._server.settings
        starttls = settings.tls == "starttls" and not self.is_secured
        self.say_text(replies.ehlo(self._server.hostname, settings.max_size, starttls, self._offers_auth))

    async def _helo(self, name: str) -> None:
        if self._is_called(name):
            self._is_extended = False
            self._identify(ehlo=name)
            self.say_text(f"250 {self._server.hostname}")

    def _is_called(self, name: str) -> bool:
        """Whether the client has a name that we can repeat; a transaction under way ends (RFC 5321 §4.1.4)."""
        if not is_ehlo_name(name):
            self._complain(replies.BAD_EHLO_NAME)
            return False
        self._transaction = None
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
        elif self.input:
            # whatever came with STARTTLS would count as said under TLS: an attack, or a broken client
            self._end(replies.INJECTED)
        else:
            self.say(Reply(220, "2.0.0", "go ahead"))
            await self._secure(certificates)
            self._is_extended = False
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
            refusal = await self._authenticated(said)
            if refusal is None:
                self.say(Reply(235, "2.7.0", "authenticated"))
                return
            self.say(refusal)
            self._auth_failures += refusal.is_permanent
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

    # a transaction

    async def _mail(self, argument: str) -> None:
        if not self._client.ehlo:
            self._complain(Reply(503, "5.5.1", f"say {'LHLO' if self._is_lmtp else 'EHLO'} first"))
            return
        if self._transaction is not None:
            self._complain(replies.UNDER_WAY)
            return
        settings = self._server.settings
        mail = parse_mail(argument, extended=self._is_extended, auth=self._offers_auth, max_size=settings.max_size)
        if isinstance(mail, Reply):
            self._complain(mail)
            return
        answer = await self._server.reception.begin(self._client, settings, mail)
        if isinstance(answer, Reply):
            self.say(answer)
            return
        self._transaction, self._terms, self._smtputf8 = answer, settings, mail.smtputf8
        self.say(Reply(250, "2.1.0", "ok"))

    async def _rcpt(self, argument: str) -> None:
        if self._transaction is None:
            self._complain(replies.MAIL_FIRST)
            return
        recipient = parse_rcpt(argument, smtputf8=self._smtputf8)
        if isinstance(recipient, Reply):
            self._complain(recipient)
        elif self._transaction.accepted >= self._terms.max_recipients:
            self.say(replies.TOO_MANY_RECIPIENTS)
        else:
            self.say(await self._transaction.add(recipient))

    async def _take_data(self, argument: str) -> None:
        if argument:
            self._complain(replies.NO_ARGUMENT)
            return
        transaction = self._transaction
        if transaction is None or not transaction.accepted:
            self._complain(replies.MAIL_FIRST if transaction is None else replies.NO_RECIPIENT)
            return
        if transaction.refusal is not None:
            self._transaction = None
            return self.say(transaction.refusal)
        self.say_text("354 end with CR LF . CR LF")
        octets = await self._data(self._terms.max_size)
        self._transaction = None
        expected = transaction.accepted if self._is_lmtp else 1
        if octets is None:
            self._say_to_all(TOO_BIG, expected)
        elif b"\0" in octets or has_bare_line_end(octets):
            self._say_to_all(replies.BAD_CHARACTERS, expected)
        else:
            await self._complete(transaction, octets, expected)

    async def _complete(self, transaction: Transaction, octets: bytes, expected: int) -> None:
        """Each reply is written as it comes; those that reception fails to give are "try again"."""
        if self._has_ended:
            raise Ended
        self._unproven.append(transaction)
        self._is_completing = True
        answers = transaction.complete(octets)
        try:
            async for reply in answers:
                self.say(reply)
                expected -= 1
                if not expected:
                    break
                self.flush()
        except Exception as error:
            self._tell(error)
        finally:
            if isinstance(answers, AsyncGenerator):
                await answers.aclose()
            self._is_completing = False
        if expected:
            self._say_to_all(replies.INTERNAL_ERROR, expected)
            self._settle(proven=False)  # what it reads now is not what reception meant
        if self.input[:6].upper() != b"QUIT\r\n":
            self.flush()  # else along with 221: the client may close as soon as it has read its reply
        self._early = len(self.input)

    def _say_to_all(self, reply: Reply, times: int) -> None:
        for _ in range(times):
            self.say(reply)

    def _settle(self, *, proven: bool) -> None:
        """The answered transactions learn whether their replies were read."""
        transactions, self._unproven = self._unproven, []
        for transaction in transactions:
            try:
                if proven:
                    transaction.proven()
                else:
                    transaction.unproven()
            except Exception as error:
                self._tell(error)

    async def _rset(self, argument: str) -> None:
        if argument:
            self._complain(replies.NO_ARGUMENT)
            return
        self._transaction = None
        self.say(Reply(250, "2.0.0", "ok"))

    async def _noop(self, argument: str) -> None:
        self.say(Reply(250, "2.0.0", "ok"))

    async def _vrfy(self, argument: str) -> None:
        self.say(Reply(252, "2.5.0", "send mail to find out"))

    async def _expn(self, argument: str) -> None:
        self._complain(Reply(502, "5.5.1", "no lists are kept here"))

    async def _help(self, argument: str) -> None:
        self.say(Reply(214, "2.0.0", " ".join(self._table)))

    async def _quit(self, argument: str) -> None:
        if argument:
            self._complain(replies.NO_ARGUMENT)
            return
        self._end(Reply(221, "2.0.0", "bye"))
        if self._unproven:
            await self._linger()

    async def _linger(self) -> None:
        """QUIT was sent along with the final dot, so it proves nothing: how the client closes has to."""
        self._has_quit = True
        self.flush()
        try:
            if self.transport is not None and self.transport.can_write_eof():
                self.transport.write_eof()
            await asyncio.wait_for(self._wait(), _PROOF_TIME)
        except OSError:
            return  # the client has gone already, or takes too long (TimeoutError)

    def _complain(self, reply: Reply) -> None:
        """The client did what it should not have done."""
        self.say(reply)
        self._errors += 1
        if self._errors >= _MOST_ERRORS:
            self._end(replies.TOO_MANY_ERRORS)

    def _end(self, reply: Reply) -> None:
        self.say(reply)
        self._is_over = True

    def _tell(self, error: Exception) -> None:
        log.error("internal_error session=%s listener=%s", self._client.id, self._client.listener, exc_info=error)


_COMMANDS: Mapping[str, Do] = {
    "MAIL": Conversation._mail,
    "RCPT": Conversation._rcpt,
    "DATA": Conversation._take_data,
    "RSET": Conversation._rset,
    "NOOP": Conversation._noop,
    "QUIT": Conversation._quit,
    "VRFY": Conversation._vrfy,
    "EXPN": Conversation._expn,
    "HELP": Conversation._help,
    "AUTH": Conversation._auth,
    "STARTTLS": Conversation._starttls,
}
_SMTP_COMMANDS: Mapping[str, Do] = {"EHLO": Conversation._ehlo, "HELO": Conversation._helo, **_COMMANDS}
_LMTP_COMMANDS: Mapping[str, Do] = {"LHLO": Conversation._ehlo, **_COMMANDS}
