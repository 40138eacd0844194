"""What every door of the API makes of its request: mail to send, in the words of no API."""

from dataclasses import dataclass

from mtaframe import Address, Private, Redacted, Variable

NO_VARIABLES: Private[Variable] = Private()
NO_DATA: Private[str] = Private()


@dataclass(frozen=True, slots=True, repr=False)
class Mailbox(Redacted):
    """An address, and the name that people read."""

    address: Address
    name: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Attachment(Redacted):
    """``content_id`` is set for an image inside the HTML, without the angle brackets."""

    name: str
    content_type: str
    content: bytes
    content_id: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Copies(Redacted):
    """One message to some people, who see each other in To and Cc: all of them get it with the same variables."""

    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    variables: Private[Variable] = NO_VARIABLES

    @property
    def count(self) -> int:
        return len(self.to) + len(self.cc) + len(self.bcc)


@dataclass(frozen=True, slots=True, repr=False)
class Outgoing(Redacted):
    """Mail with one content for everybody, but for its merge tags.

    ``variables`` hold where a copy's own do not. ``fields`` are further header fields, ``custom_data`` comes back in
    events. ``dialect`` and ``on_missing`` say how merge tags are read; None: as the account has it.
    """

    sender: Mailbox
    subject: str
    copies: tuple[Copies, ...]
    text: str | None = None
    html: str | None = None
    reply_to: tuple[Mailbox, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    variables: Private[Variable] = NO_VARIABLES
    custom_data: Private[str] = NO_DATA
    dialect: str | None = None
    on_missing: str | None = None
    stream: str | None = None

    @property
    def count(self) -> int:
        """How many recipients in all."""
        return sum(copies.count for copies in self.copies)
