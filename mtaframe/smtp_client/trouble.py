"""Everything that can go wrong on the way out, and the one place that says what it means for the mail."""

from dataclasses import dataclass
from enum import Enum

from mtaframe.delivery import Outcome
from mtaframe.redaction import Redacted
from mtaframe.reply import Reply, Stage, for_client, is_our_fault
from mtaframe.settlement import HELD_BACK


class Kind(Enum):
    """What went wrong, where no reply of the remote server says it."""

    DNS = "no answer from DNS"
    NULL_MX = "null MX"
    NO_HOST = "no such host"
    LOOP = "MX points to ourselves"
    NO_FAMILY = "no address of a family in use"
    NO_NEXT_HOP = "configured next hop has no address"
    BAD_SOURCE = "source address not usable"
    UNREACHABLE = "no connection"
    CONGESTED = "all connections busy"
    RESTS = "source rests"
    HELD_BACK = "held back before the final dot"
    LATE = "no answer in time"
    LOST = "connection lost"
    GARBLED = "protocol error"
    TLS_NOT_OFFERED = "TLS not offered"
    TLS_FAILED = "TLS failed"
    BAD_TRUST = "certificate authorities not readable"
    AUTH_IN_CLEAR = "credentials need TLS"
    AUTH_NOT_OFFERED = "AUTH not offered"
    TOO_BIG = "message too big"
    NO_UTF8 = "SMTPUTF8 not offered"
    BAD_ADDRESS = "address cannot be sent"
    IN_DOUBT = "no answer after the final dot"
    BROKEN = "fault in this program"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, repr=False)
class Trouble(Redacted):
    """One thing that went wrong; ``reply`` and ``stage`` are those of the remote server, if it said something."""

    _shown = ("kind",)

    kind: Kind
    reply: Reply | None = None
    stage: Stage = Stage.CONNECT

    @property
    def is_loss(self) -> bool:
        """Whether the connection is gone or about to go: EOF, RST or 421."""
        return self.kind is Kind.LOST or (self.reply is not None and self.reply.code == 421)


class TroubleError(Exception):
    """Ends an attempt at one host. It never leaves this package."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.kind.value)
        self.trouble = trouble


def told(trouble: Trouble) -> tuple[Outcome, Reply]:
    """What a trouble means for the mail, and what our client is told of it.

    - The remote server refused: its own words, after ``reply.for_client``. 5xx to MAIL, RCPT, DATA or the dot
      is FAILED; all else is DEFERRED: 4xx, 421, a 5xx banner, EHLO, STARTTLS or AUTH, and whatever our side
      caused.
    - DNS says clearly that no mail can go there (null MX, no such host, only ourselves): FAILED. No answer from
      DNS: DEFERRED.
    - The message can never pass that server (SIZE, SMTPUTF8, an address no command can carry): FAILED.
    - Our own configuration is wrong (source address, next hop, authorities, AUTH): DEFERRED 4.3.5, never
      blamed on the message.
    - No connection, no TLS where it must be, no answer, a broken connection, nonsense: DEFERRED.
    - No answer after the final dot, for whatever reason: DEFERRED, in doubt. The mail may have been delivered.
    """
    if trouble.reply is None:
        reply = _REPLIES[trouble.kind]
    elif is_alarming(trouble):
        reply = _OURS
    else:
        reply = for_client(trouble.reply, trouble.stage)
        if reply.is_positive:  # a yes where none was asked for
            reply = _REPLIES[Kind.GARBLED]
    return (Outcome.FAILED if reply.is_permanent else Outcome.DEFERRED), reply


def is_alarming(trouble: Trouble) -> bool:
    """Whether the operator must hear of it: our configuration, our commands or our credentials are wrong."""
    if trouble.reply is not None:
        return is_our_fault(trouble.reply) or (trouble.stage is Stage.AUTH and trouble.reply.is_permanent)
    return _REPLIES[trouble.kind].status in ("4.3.5", "4.3.0")


_OURS = Reply(451, "4.3.5", "this server is not set up for that next hop; the operator has been told")
_REPLIES = {
    Kind.DNS: Reply(451, "4.4.3", "no answer from the domain name system"),
    Kind.NULL_MX: Reply(556, "5.1.10", "the recipient's domain accepts no mail"),
    Kind.NO_HOST: Reply(550, "5.1.2", "the recipient's domain does not exist or has no mail host"),
    Kind.LOOP: Reply(554, "5.4.6", "mail for the recipient's domain would loop back to this server"),
    Kind.NO_FAMILY: Reply(451, "4.4.4", "the next hop has no address that can be reached from here"),
    Kind.NO_NEXT_HOP: _OURS,
    Kind.BAD_SOURCE: _OURS,
    Kind.UNREACHABLE: Reply(451, "4.4.1", "no connection to the next hop"),
    Kind.CONGESTED: Reply(451, "4.4.5", "all connections to the next hop are busy"),
    Kind.RESTS: Reply(451, "4.3.2", "the outgoing address rests; try again later"),
    Kind.HELD_BACK: HELD_BACK,
    Kind.LATE: Reply(451, "4.4.2", "no answer from the next hop in time"),
    Kind.LOST: Reply(451, "4.4.2", "the connection to the next hop was lost"),
    Kind.GARBLED: Reply(451, "4.5.0", "the next hop does not keep to the protocol"),
    Kind.TLS_NOT_OFFERED: Reply(451, "4.7.4", "TLS is required, but the next hop does not offer it"),
    Kind.TLS_FAILED: Reply(451, "4.7.5", "no TLS connection to the next hop that can be trusted"),
    Kind.BAD_TRUST: _OURS,
    Kind.AUTH_IN_CLEAR: _OURS,
    Kind.AUTH_NOT_OFFERED: _OURS,
    Kind.TOO_BIG: Reply(552, "5.3.4", "the message is too big for the next hop"),
    Kind.NO_UTF8: Reply(553, "5.6.7", "the next hop does not accept internationalized mail"),
    Kind.BAD_ADDRESS: Reply(553, "5.1.3", "the address cannot be sent by SMTP"),
    Kind.IN_DOUBT: Reply(451, "4.4.2", "in doubt: the next hop took the message and gave no answer"),
    Kind.BROKEN: Reply(451, "4.3.0", "a fault in this server; try again later"),
}
