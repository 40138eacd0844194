"""What a client is offered: the answer to EHLO and LHLO, and the parameters that follow from it.

The law: nothing is understood that is not announced, and nothing announced that is not done.
"""

from dataclasses import dataclass
from functools import cached_property

_LARGEST_LIMIT = 999_999
"""What the six digits of RFC 9422 §4 can say."""


@dataclass(frozen=True)
class Offer:
    """``recipients``: the limit for a transaction that is announced, along with one domain (RFC 9422); 0: none is.

    ``dsn`` (RFC 3461), ``prdr`` (draft-hall-prdr-00), ``forwarding``: XCLIENT and XFORWARD.
    """

    max_size: int
    starttls: bool = False
    auth: bool = False
    dsn: bool = False
    prdr: bool = False
    recipients: int = 0
    forwarding: bool = False

    def ehlo(self, hostname: str) -> str:
        """The answer to EHLO and LHLO, without its last CR LF."""
        lines = [hostname, f"SIZE {self.max_size}", "8BITMIME", "SMTPUTF8", "PIPELINING", "CHUNKING"]
        lines += ["STARTTLS"] * self.starttls + ["AUTH PLAIN LOGIN"] * self.auth
        lines += ["DSN"] * self.dsn + ["PRDR"] * self.prdr
        if self.recipients:
            lines.append(f"LIMITS RCPTMAX={min(self.recipients, _LARGEST_LIMIT)} RCPTDOMAINMAX=1")
        if self.forwarding:
            lines.append("XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT")
            lines.append("XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")
        lines.append("ENHANCEDSTATUSCODES")
        return "\r\n".join(f"250-{line}" for line in lines[:-1]) + f"\r\n250 {lines[-1]}"

    @cached_property
    def mail_parameters(self) -> tuple[str, ...]:
        return (
            "SIZE",
            "BODY",
            "SMTPUTF8",
            *(("AUTH",) if self.auth else ()),
            *(("RET", "ENVID") if self.dsn else ()),
            *(("PRDR",) if self.prdr else ()),
        )

    @property
    def rcpt_parameters(self) -> tuple[str, ...]:
        return ("NOTIFY", "ORCPT") if self.dsn else ()
