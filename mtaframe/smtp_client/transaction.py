"""One transaction on an open connection: MAIL, RCPT, DATA, message, dot (RFC 5321 §3.3, 2033, 2920).

The rule: the terminator goes out last, after the attempt says so, and from there on only the server's answer
decides. Everything before it may be tried again.
"""

import math
import re
from collections.abc import Sequence

from aiosmtplib import SMTPResponse

from mtaframe.address import Address, dns_name
from mtaframe.lifecycle import Attempt
from mtaframe.message import Message
from mtaframe.reply import Reply, Stage
from mtaframe.settings import DeliverySettings
from mtaframe.smtp_client.answer_time import AnswerTimes
from mtaframe.smtp_client.connection import Budget, Connection
from mtaframe.smtp_client.errand import Errand
from mtaframe.smtp_client.notification import mail_wishes, rcpt_wishes
from mtaframe.smtp_client.trouble import Kind, Trouble, TroubleError
from mtaframe.smtp_client.wire import Wire

CHUNK = 262_144
"""Octets handed over at once, so that a large message is never copied whole."""
SMALL = 131_072
"""Up to this size message and terminator go out in one write."""

_LOCAL_PART = re.compile(r'"[^\x00-\x1f\x7f]*"|[^\x00-\x20\x7f<>]+')
_DOMAIN = re.compile(r"[^\x00-\x20\x7f<>@]+")


class Transaction:
    """Carries one message to ``batch``, places in the errand."""

    __slots__ = (
        "_answer_times", "_attempt", "_batch", "_budget", "_connection", "_errand", "_remote", "_settings",
        "_wire", "accepted", "again",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        errand: Errand,
        batch: Sequence[int],
        attempt: Attempt,
        budget: Budget,
        settings: DeliverySettings,
        answer_times: AnswerTimes,
    ) -> None:
        self._connection = connection
        self._wire = connection.wire
        self._errand = errand
        self._batch = list(batch)
        self._attempt = attempt
        self._budget = budget
        self._settings = settings
        self._answer_times = answer_times
        self._remote = connection.target.name
        self.accepted: list[int] = []
        """Places to which the server waits to be given the message."""
        self.again: list[int] = []
        """Places to be tried again at this host: too many at a time, or the connection gave out before their turn."""

    async def begin(self) -> Trouble | None:
        """All that comes before the message, which is due if somebody is ``accepted`` then.

        A trouble means that the connection gave out; the unsettled are not judged then.
        """
        commands = self._commands()
        if not commands:
            return None
        self._connection.uses += 1
        if self._connection.limits:
            self._connection.named(self._errand.recipient(place).address.domain for place in self._batch)
        replies = await self._say(commands)
        accepted, trouble = self._judge(replies)
        if trouble is not None:
            return trouble
        data = replies[-1] if len(replies) == len(commands) else None
        if not accepted:
            await self._leave(data)
            return None
        if data is None or data.code != 354:
            return self._data_refused(accepted, data)
        self.accepted = accepted
        return None

    # What is said before the message

    def _commands(self) -> list[bytes]:
        """RSET if needed, MAIL, RCPT for each, DATA; nothing if this server can't take the mail at all."""
        connection, errand, message = self._connection, self._errand, self._errand.message
        if connection.size_limit is not None and message.size > connection.size_limit:
            errand.end(self._batch, Trouble(Kind.TOO_BIG), self._remote)
            return []
        header_is_ascii = message.header.isascii()
        utf8 = errand.envelope.smtputf8 and not header_is_ascii
        reverse_path = errand.reverse_path
        utf8 = utf8 or (reverse_path is not None and not reverse_path.local_part.isascii())
        if utf8 and not connection.utf8:
            errand.end(self._batch, Trouble(Kind.NO_UTF8), self._remote)
            return []
        try:
            sender = b"" if reverse_path is None else _path(reverse_path)
        except ValueError:
            errand.end(self._batch, Trouble(Kind.BAD_ADDRESS))
            return []
        lines, utf8_recipients = self._recipients()
        if not lines:
            return []
        mail = b"MAIL FROM:<" + sender + b">"
        if connection.declares_size:
            mail += b" SIZE=%d" % message.size
        if connection.eight_bit and not (header_is_ascii and message.body.isascii()):
            mail += b" BODY=8BITMIME"
        if utf8 or utf8_recipients:
            mail += b" SMTPUTF8"
        if connection.dsn and (errand.envelope.ret or errand.envelope.envid):
            mail += mail_wishes(errand.envelope)
        reset = [b"RSET\r\n"] if connection.unclean else []
        return [*reset, mail + b"\r\n", *lines, b"DATA\r\n"]

    def _recipients(self) -> tuple[list[bytes], bool]:
        """RCPT lines for those of the batch that can be sent, and whether one needs SMTPUTF8."""
        lines, sent, utf8 = [], [], False
        for place in self._batch:
            recipient = self._errand.recipient(place)
            address = recipient.address
            is_ascii = address.local_part.isascii()
            if not is_ascii and not self._connection.utf8:
                self._errand.end([place], Trouble(Kind.NO_UTF8), self._remote)
                continue
            is_asked = self._connection.dsn and (recipient.notify or recipient.original)
            wishes = rcpt_wishes(recipient) if is_asked else b""
            try:
                lines.append(b"RCPT TO:<" + _path(address) + b">" + wishes + b"\r\n")
            except ValueError:
                self._errand.end([place], Trouble(Kind.BAD_ADDRESS))
                continue
            sent.append(place)
            utf8 = utf8 or not is_ascii
        self._batch = sent
        return lines, utf8

    async def _say(self, commands: list[bytes]) -> list[SMTPResponse]:
        """The replies to the commands, as far as they go."""
        silence = self._settings.command_timeout
        if self._connection.pipelining:
            left = self._budget.seconds(math.inf)
            self._wire.send(b"".join(commands), len(commands))
            return await self._wire.replies(len(commands), silence, left)
        replies: list[SMTPResponse] = []
        is_reset = self._connection.unclean
        anybody = False
        for number, command in enumerate(commands):
            if number == len(commands) - 1 and not anybody:
                break  # DATA for nobody
            left = self._budget.seconds(silence)
            self._wire.send(command, 1)
            got = await self._wire.replies(1, silence, left)
            replies += got
            if not got or (number <= is_reset and got[0].code // 100 != 2):
                break
            anybody = anybody or (number > is_reset and got[0].code // 100 == 2)
        return replies

    # What the replies mean

    def _judge(self, replies: list[SMTPResponse]) -> tuple[list[int], Trouble | None]:
        """The places accepted; or the trouble that makes them moot."""
        rest = list(replies)
        if self._connection.unclean:
            if not rest or rest[0].code // 100 != 2:
                self.again = self._batch
                self._connection.drop()
                return [], Trouble(Kind.LOST, stage=Stage.MAIL)
            rest.pop(0)
            self._connection.unclean = False
        if not rest or rest[0].code == 421:
            self.again = self._batch
            return [], self._gone(rest[0] if rest else None, Stage.MAIL)
        if rest[0].code // 100 != 2:
            self._errand.stop(self._batch, _refused(rest[0], Stage.MAIL), self._remote)
            return [], None
        accepted: list[int] = []
        too_many: list[tuple[int, SMTPResponse]] = []
        for number, place in enumerate(self._batch, 1):
            reply = rest[number] if number < len(rest) else None
            if reply is None or reply.code == 421:
                self.again = [*accepted, *(place for place, _ in too_many), *self._batch[number - 1 :]]
                return [], self._gone(reply, Stage.RCPT)
            if reply.code // 100 == 2:
                accepted.append(place)
            elif _is_too_many(reply):
                too_many.append((place, reply))
            else:
                self._errand.stop([place], _refused(reply, Stage.RCPT), self._remote)
        if accepted:
            self.again = [place for place, _ in too_many]
        else:
            for place, reply in too_many:
                self._errand.stop([place], _refused(reply, Stage.RCPT), self._remote)
        return accepted, None

    async def _leave(self, data: SMTPResponse | None) -> None:
        """Nobody was accepted. If DATA was all the same, an empty message to nobody ends it (RFC 2920 §3.1)."""
        self._connection.unclean = data is None or data.code != 354
        if self._connection.unclean:
            return
        if self._connection.target.lmtp:
            return self._connection.drop()  # no recipients, no reply to wait for
        self._wire.send(b".\r\n", 1)
        await self._wire.replies(1, self._budget.seconds(self._settings.command_timeout))

    def _data_refused(self, accepted: list[int], reply: SMTPResponse | None) -> Trouble | None:
        if reply is None or reply.code == 421:
            self.again += accepted
            return self._gone(reply, Stage.DATA)
        self._connection.unclean = True
        if reply.code < 400:
            self._connection.drop()  # neither yes nor no
        self._errand.stop(accepted, _refused(reply, Stage.DATA), self._remote)
        return None

    def _gone(self, reply: SMTPResponse | None, stage: Stage) -> Trouble:
        """The connection is of no more use: 421, or what spoilt it."""
        if reply is not None:
            return _refused(reply, stage)
        return Trouble(self._wire.fault or Kind.GARBLED, stage=stage)

    # The message

    async def transmit(self) -> Trouble | None:
        """The message to those who are accepted. A trouble is one before the dot, as in ``begin``."""
        accepted = self.accepted
        message = self._errand.message
        # one copy of a large one for all transactions that carry it, for these may be many, and long
        header, body, last = message.derived(_octets) if message.size > SMALL else _octets(message)
        wire = self._wire
        lmtp = self._connection.target.lmtp
        due = len(accepted) if lmtp else 1
        wire.expect(due)  # from here on, for a server may have enough in the middle
        rest = [header, b"\r\n", body, last]
        if len(header) + len(body) > SMALL:
            await _feed(wire, self._budget, header + b"\r\n")
            await _feed(wire, self._budget, body)
            rest = [last]
        if not await self._attempt.may_end(self._is_refused(accepted)):
            raise TroubleError(Trouble(Kind.HELD_BACK))
        if wire.was_answered:
            return await self._cut_short(accepted)
        left, address = self._budget.left, self._connection.target.address
        if left < self._answer_times.needed(address, self._budget.total):
            raise TroubleError(Trouble(Kind.LATE))
        self._attempt.dot_sent = True
        wire.send_all(rest)
        replies = await wire.replies(due, self._settings.dot_timeout)
        self._answer_times.note(address, left - self._budget.left)
        for number, place in enumerate(accepted):
            answer = replies[number : number + 1] if lmtp else replies
            if answer:
                reply = Reply.parse(answer[0].code, answer[0].message)
                self._errand.answered([place], reply, self._remote, passed_on=self._connection.dsn)
            else:
                self._errand.end([place], Trouble(Kind.IN_DOUBT, stage=Stage.DOT), self._remote)
        return None

    def _is_refused(self, accepted: list[int]) -> bool:
        """Whether some of this transaction's recipients may be tried again, but not in it."""
        return len(accepted) < len(self._batch) and bool(
            set(self._errand.unsettled(self._batch)).difference(accepted, self.again)
        )

    async def _cut_short(self, accepted: list[int]) -> Trouble | None:
        """The server spoke, or left, before it had the whole message: it has taken none of it."""
        fault = self._wire.fault
        early = await self._wire.replies(1, 0)
        self._connection.drop()
        if early and early[0].code != 421:
            self._errand.stop(accepted, _refused(early[0], Stage.DATA), self._remote)
            return None
        self.again += accepted
        return _refused(early[0], Stage.DATA) if early else Trouble(fault or Kind.LOST, stage=Stage.DATA)


def _refused(reply: SMTPResponse, stage: Stage) -> Trouble:
    return Trouble(Kind.REFUSED, Reply.parse(reply.code, reply.message), stage)


def _is_too_many(reply: SMTPResponse) -> bool:
    """Too many recipients, not a full mailbox or disk (RFC 5321 §4.5.3.1.10): 552 means the same as 452 there."""
    if reply.code not in (452, 552):
        return False
    status = Reply.parse(reply.code, reply.message).status
    return not status or status[1:] == ".5.3"


def _path(address: Address) -> bytes:
    """The mailbox as a command carries it. ValueError if none can.

    A domain in U-labels goes as A-labels where the local part is ASCII, so it needs no SMTPUTF8 (RFC 6531 §3.2).
    """
    local_part, domain = address.local_part, address.domain
    if not (_LOCAL_PART.fullmatch(local_part) and _DOMAIN.fullmatch(domain)):
        raise ValueError
    if local_part.isascii():
        domain = dns_name(domain)
    return f"{local_part}@{domain}".encode()


def _octets(message: Message) -> tuple[bytes, bytes, bytes]:
    """Header section, body and terminator, with dots stuffed (RFC 5321 §4.5.2); nothing is copied without need.

    A dot behind a bare LF is doubled too: to a lax server it would end the message (SMTP smuggling).
    """
    header, body = _stuffed(message.header), _stuffed(message.body)
    return header, body, b".\r\n" if body.endswith(b"\r\n") or not body else b"\r\n.\r\n"


def _stuffed(octets: bytes) -> bytes:
    if b"\n." in octets:
        octets = octets.replace(b"\n.", b"\n..")
    return b"." + octets if octets.startswith(b".") else octets


async def _feed(wire: Wire, budget: Budget, octets: bytes) -> None:
    """Hand over octets as fast as the server takes them, until it answers or is gone."""
    view = memoryview(octets)
    for start in range(0, len(octets), CHUNK):
        if wire.was_answered:
            return
        wire.send(view[start : start + CHUNK])
        await wire.drain(budget.seconds(math.inf))
