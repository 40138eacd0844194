"""One client's session: which commands it may say when, and what reception answers (RFC 5321 §4, RFC 2033).

The law: whatever goes wrong in here is "try again" (451 4.3.0), and a transaction that was answered is either
proven, because the client went on, or unproven, exactly once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mtaframe.envelope import Mail
from mtaframe.guard import Visit
from mtaframe.message import has_bare_line_end
from mtaframe.reception import NO_MEMORY, Transaction
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings
from mtaframe.smtp_server import replies
from mtaframe.smtp_server.commands import LINE_TOO_LONG, TOO_BIG, parse_bdat, parse_line, parse_mail, parse_rcpt
from mtaframe.smtp_server.forwarding import origin
from mtaframe.smtp_server.framing import CRLF
from mtaframe.smtp_server.introduction import Introduction
from mtaframe.smtp_server.line_ends import normalized
from mtaframe.smtp_server.wire import Ended

if TYPE_CHECKING:
    from mtaframe.smtp_server.server import SmtpServer

_PROOF_TIME = 5.0
"""Seconds that a client gets to prove that it has read its reply, before we end the session or doubt that it has."""

_STEP = 65_536
"""Octets of a message for which room is made at once."""

Do = Callable[["Conversation", str], Awaitable[None]]


class Conversation(Introduction):
    """A session from the banner to its end."""

    _chunks: bytearray | None = None  # what BDAT has brought so far
    _has_quit = False
    __slots__ = (
        "_begun", "_domain", "_doubt_at", "_doubting", "_due", "_has_begun", "_has_room", "_is_completing",
        "_rcpt_parameters", "_table", "_terms", "_unproven",
    )  # fmt: skip

    def __init__(
        self,
        server: "SmtpServer",
        loop: asyncio.AbstractEventLoop,
        proxied: str | None = None,
        visit: Visit | None = None,
    ) -> None:
        super().__init__(server, loop, proxied, visit)
        self._table = _LMTP_COMMANDS if self._is_lmtp else _SMTP_COMMANDS
        self._terms: ListenerSettings = server.settings  # the settings that the transaction began with
        self._begun = Mail(None)  # the MAIL that it began with
        self._rcpt_parameters: tuple[str, ...] = ()
        self._domain: str | None = None
        self._unproven: list[Transaction] = []
        self._doubt_at = 0.0
        self._doubting: asyncio.TimerHandle | None = None
        self._is_completing = False
        self._has_room = True  # for the message that is coming
        self._due = 0  # replies that the client is still to get after its final dot
        self._has_begun = False

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
        elif self.framing.input.find(b"\r\n", self.framing.early) >= 0 or (in_order and self._all_was_read()):
            self._settle(proven=True)

    async def _conversation(self) -> None:
        try:
            if await self._greet():
                while not self._is_over:
                    await self._obey(await self._line())
        finally:
            self._settle(proven=False)
            self._transaction = None  # it keeps a generation alive
            if self._doubting is not None:
                self._doubting.cancel()

    async def _obey(self, line: bytes | None) -> None:
        if self._unproven and not self._line_was_early:
            self._settle(proven=True)
        command = LINE_TOO_LONG if line is None else parse_line(line)
        if isinstance(command, Reply):
            self._complain(command)
            return
        if self._server.is_draining and self._is_to_end and command.verb != "QUIT":
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
        if self._server.is_draining and self._is_to_end and not (self._unproven or self._is_over):
            self._end(replies.STOPPING)

    @property
    def _is_to_end(self) -> bool:
        """Of a server that stops: whether the client has had its turn. Who has just come may send one message."""
        return self._transaction is None and self._has_begun

    def retire(self) -> None:
        """While the server stops: ends a session that is under no transaction, once its last reply is proven.

        Who has said little so far gets a moment for more.
        """
        if self._waiter is None or self._waits_since is None or self._transaction is not None or self._has_quit:
            return
        is_done = self._has_begun and not self._unproven
        if is_done or self.loop.time() - self._waits_since > _PROOF_TIME:
            self.dismiss(replies.STOPPING)

    # a transaction

    async def _mail(self, argument: str) -> None:
        if not self._client.ehlo:
            self._complain(Reply(503, "5.5.1", f"say {'LHLO' if self._is_lmtp else 'EHLO'} first"))
            return
        if self._transaction is not None:
            self._complain(replies.UNDER_WAY)
            return
        settings = self._server.settings
        offer = self._offer if self._is_extended else None
        mail = parse_mail(argument, offer.mail_parameters if offer else (), settings.max_size)
        if isinstance(mail, Reply):
            self._complain(mail)
            return
        session = replace(self._client, origin=origin(self._forwarded)) if self._forwarded else self._client
        answer = await self._server.reception.begin(session, settings, mail)
        if isinstance(answer, Reply):
            self._idle(answer)
            return
        self._has_begun = True
        self._transaction, self._terms, self._begun, self._domain = answer, settings, mail, None
        self._rcpt_parameters = offer.rcpt_parameters if offer else ()
        self.say(replies.SENDER_OK)

    async def _rcpt(self, argument: str) -> None:
        if self._transaction is None or self._chunks is not None:
            self._complain(replies.MAIL_FIRST if self._transaction is None else replies.CHUNKS_UNDER_WAY)
            return
        recipient = parse_rcpt(argument, self._rcpt_parameters, smtputf8=self._begun.smtputf8)
        if isinstance(recipient, Reply):
            self._complain(recipient)
        elif self._transaction.accepted >= self._terms.max_recipients:
            await self._refuse_recipient(replies.TOO_MANY_RECIPIENTS)
        elif self._is_second_domain(recipient.address.domain):
            await self._refuse_recipient(replies.ONE_DOMAIN)
        else:
            answer = await self._transaction.add(recipient)
            if not answer.is_positive:
                return await self._refuse_recipient(answer)
            self._domain = recipient.address.domain
            self.say(answer)

    def _is_second_domain(self, domain: str) -> bool:
        """Two domains are two sites with two outcomes, and one reply can't tell them; PRDR can."""
        return self._terms.kind == "mta" and not self._begun.prdr and self._domain not in (None, domain)

    async def _take_data(self, argument: str) -> None:
        if argument:
            self._complain(replies.NO_ARGUMENT)
            return
        transaction = self._transaction
        if transaction is None or not transaction.accepted:
            self._complain(replies.MAIL_FIRST if transaction is None else replies.NO_RECIPIENT)
            return
        if self._chunks is not None:
            self._complain(replies.CHUNKS_UNDER_WAY)
            return
        if transaction.refusal is not None:
            self._forget()
            return self.say(transaction.refusal)
        self.say(replies.GO_ON)
        self._expected, self._has_room = max(self._begun.size, _STEP), True
        self.framing.expect_message(self._terms.max_size)
        await self._bulk()
        if (work := self._take_in(transaction, self.framing.take_message())) is not None:
            await work

    def _grows(self) -> None:
        transaction = self._transaction
        if self._has_room and transaction is not None:
            self._expected = self._arrived + _STEP
            if not transaction.has_room_for(self._expected):
                self._has_room = False
                self.framing.drop_message()

    async def _bdat(self, argument: str) -> None:
        """A part of the message (RFC 3030). Its octets come whatever is answered, and never count as commands."""
        chunk = parse_bdat(argument)
        if isinstance(chunk, Reply):
            self._end(chunk)  # nobody knows where the next command begins
            return
        transaction, taken = self._transaction, len(self._chunks or b"")
        refusal = self._refusal_of_chunk(taken + chunk.size)
        if refusal is not None:
            self._expected = chunk.size
            self.framing.expect_nothing(chunk.size)
            await self._bulk()
            self.framing.take_nothing()
            is_per_recipient = self._is_lmtp and chunk.is_last and transaction is not None and transaction.accepted
            self._forget()
            self._say_to_all(refusal, transaction.accepted if is_per_recipient and transaction else 1)
            return self._count_idle()
        if self._chunks is None:
            self._chunks_since = self.loop.time()
        self._expected, self._has_room = chunk.size, True
        self.framing.expect_chunk(chunk.size)
        await self._bulk()
        octets = self.framing.take_chunk()
        if self._chunks is not None:
            self._chunks += octets
            octets = self._chunks
        if not chunk.is_last or transaction is None:
            self._chunks = octets
            self.say(Reply(250, "2.0.0", f"{chunk.size} octets taken"))
            return self._took_chunk(chunk.size, len(octets))
        if octets and not octets.endswith(CRLF):
            octets += CRLF  # whoever gets it by DATA gets that, too
        self._chunks = None
        work, octets = self._take_in(transaction, octets, is_stuffed=False), bytearray()
        if work is not None:
            await work

    def _refusal_of_chunk(self, size: int) -> Reply | None:
        """Why there may be no chunk now, or none that makes the message so big."""
        transaction = self._transaction
        if transaction is None or not transaction.accepted:
            return replies.MAIL_FIRST if transaction is None else replies.NO_RECIPIENT
        if size > self._terms.max_size:
            return TOO_BIG
        return transaction.refusal or (None if transaction.has_room_for(size) else NO_MEMORY)

    def _forget(self) -> None:
        super()._forget()
        self._chunks = None

    def _take_in(
        self, transaction: Transaction, octets: bytearray | None, *, is_stuffed: bool = True
    ) -> Awaitable[None] | None:
        """The message is here, or was too big; what is left to do."""
        if self._is_held:
            self._read_on()
        self._forget()
        expected = transaction.accepted if self._is_lmtp else 1
        message: bytearray | Reply = TOO_BIG if octets is None else octets
        if not self._has_room or (octets is not None and not transaction.has_room_for(len(octets))):
            message = NO_MEMORY
        elif octets is not None and (b"\0" in octets or has_bare_line_end(octets)):
            message = self._mended(transaction, octets, is_stuffed)
        del octets  # a message is in RAM once
        if isinstance(message, Reply):
            self._say_to_all(message, expected)
            return None
        if self._begun.prdr:
            self.say_text("353 each recipient has a reply, then all")
            self.flush()
            expected += transaction.accepted
        if self._has_ended:
            raise Ended
        self._due = expected
        return self._complete(transaction, transaction.complete(message, self._answer))

    def _answer(self, reply: Reply) -> None:
        """Written as it comes; the last one by who waits for it."""
        if self._due:
            self.say(reply)
            self._due -= 1
            if self._due:
                self.flush()

    def _mended(self, transaction: Transaction, octets: bytearray, is_stuffed: bool) -> bytearray | Reply:
        """A message with a NUL, a bare CR or a bare LF, as far as this client may send it."""
        is_known = self._client.trusted or self._client.account is not None
        if self._terms.bare_newline != "normalize" or not is_known or b"\0" in octets:
            return replies.BAD_CHARACTERS
        octets = normalized(octets, is_stuffed=is_stuffed)
        if len(octets) > self._terms.max_size:
            return TOO_BIG
        return octets if transaction.has_room_for(len(octets)) else NO_MEMORY

    async def _complete(self, transaction: Transaction, completing: Awaitable[None]) -> None:
        """Replies that reception fails to give are "try again"."""
        self._unproven.append(transaction)
        self._is_completing = True
        try:
            await completing
        except Exception as error:
            self._tell(error)
        finally:
            self._is_completing = False
        if self._due:
            self._say_to_all(replies.INTERNAL_ERROR, self._due)
            self._settle(proven=False)  # what it reads now is not what reception meant
        framing = self.framing
        if not (framing.input and framing.input[:6].upper() == b"QUIT\r\n"):
            self.flush()  # else along with 221: the client may close as soon as it has read its reply
        framing.early = len(framing.input)
        self._idle_commands, self._brought_at = 0, self.loop.time()
        self._doubt_at = self._brought_at + _PROOF_TIME
        if self._doubting is None:
            self._doubting = self.loop.call_at(self._doubt_at, self._doubt)

    def _doubt(self) -> None:
        """A reply that is not proven to be read for so long may never be: a host can vanish without a word.

        What is proven later is forgotten later. One timer serves all messages of a session.
        """
        self._doubting = None
        if not self._unproven:
            return
        if self.loop.time() < self._doubt_at - 0.001:
            self._doubting = self.loop.call_at(self._doubt_at, self._doubt)
            return
        for transaction in self._unproven:
            transaction.unproven()

    def _say_to_all(self, reply: Reply, times: int) -> None:
        self._output.extend([reply.octets] * times)

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

    async def _help(self, argument: str) -> None:
        self._idle(Reply(214, "2.0.0", " ".join(verb for verb in self._table if verb not in _FROM_SERVERS)))

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
            if not self._has_ended:
                await asyncio.wait_for(self._silence(), _PROOF_TIME)
        except OSError:
            return  # the client has gone already, or takes too long (TimeoutError)


_FROM_SERVERS = ("XCLIENT", "XFORWARD", "PROXY")
_COMMANDS: Mapping[str, Do] = {
    "MAIL": Conversation._mail,
    "RCPT": Conversation._rcpt,
    "DATA": Conversation._take_data,
    "BDAT": Conversation._bdat,
    "RSET": Conversation._rset,
    "NOOP": Conversation._noop,
    "QUIT": Conversation._quit,
    "VRFY": Conversation._vrfy,
    "EXPN": Conversation._expn,
    "HELP": Conversation._help,
    "AUTH": Conversation._auth,
    "STARTTLS": Conversation._starttls,
    "XCLIENT": Conversation._xclient,
    "XFORWARD": Conversation._xforward,
    "PROXY": Conversation._proxy,
}
_SMTP_COMMANDS: Mapping[str, Do] = {"EHLO": Conversation._ehlo, "HELO": Conversation._helo, **_COMMANDS}
_LMTP_COMMANDS: Mapping[str, Do] = {"LHLO": Conversation._ehlo, **_COMMANDS}
