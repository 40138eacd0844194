"""Writes the report that some recipients failed: a delivery status notification (RFC 3464, in RFC 6522's frame)."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from mtaframe.delivery import Result
from mtaframe.envelope import Envelope, Recipient
from mtaframe.message import Message, field_octets
from mtaframe.trace import date

TEXT = """\
This is {hostname}. Your message could not be delivered to {these}.
It is not tried again for them.

{lines}

The next part says the same for programs; behind it stands the header section
of your message.
"""


def report(
    envelope: Envelope,
    message: Message,
    failures: Sequence[tuple[Recipient, Result]],
    hostname: str,
    at: datetime,
) -> Message:
    """A message from the null reverse-path to the envelope's. Equal input gives equal octets.

    RET=FULL (RFC 3461 §4.3) returns the whole message, anything else the header section alone.
    """
    assert envelope.reverse_path is not None
    utf8 = not all(recipient.address.is_ascii for recipient, _ in failures) or not message.header.isascii()
    boundary = f"=_{_digest(envelope, failures, message)}"
    full = envelope.ret == "FULL"
    parts = [
        (f"text/plain; charset={'utf-8' if utf8 else 'us-ascii'}", _for_people(failures, hostname)),
        (f"message/{'global-delivery-status' if utf8 else 'delivery-status'}", _for_programs(
            envelope, failures, hostname)),
        (f"message/{'global' if utf8 else 'rfc822'}" if full else f"text/{'rfc822-headers'}",
         message.raw if full else message.header),
    ]  # fmt: skip
    encoding = "7bit" if all(content.isascii() for _, content in parts) else "8bit"
    body = b"This is a report in MIME format (RFC 3464).\r\n"
    for content_type, content in parts:
        body += b"\r\n--%b\r\n" % boundary.encode()
        body += field_octets("Content-Type", content_type)
        body += field_octets("Content-Transfer-Encoding", encoding) + b"\r\n" + content
    body += b"\r\n--%b--\r\n" % boundary.encode()
    fields = {
        "From": f"Mail Delivery System <MAILER-DAEMON@{hostname}>",
        "To": f"<{envelope.reverse_path.mailbox}>",
        "Subject": "Undelivered mail returned to sender",
        "Date": date(at),
        "Message-ID": f"<{boundary[2:]}@{hostname}>",
        "Auto-Submitted": "auto-replied",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
        "Content-Transfer-Encoding": encoding,
    }
    header = b"".join(field_octets(name, value) for name, value in fields.items())
    return Message(header, body)


def _for_people(failures: Sequence[tuple[Recipient, Result]], hostname: str) -> bytes:
    lines = [f"<{recipient.address.mailbox}>:\n    {result.reply.line}" for recipient, result in failures]
    these = "this recipient" if len(lines) == 1 else f"these {len(lines)} recipients"
    text = TEXT.format(hostname=hostname, these=these, lines="\n".join(lines))
    return text.replace("\n", "\r\n").encode()


def _for_programs(envelope: Envelope, failures: Sequence[tuple[Recipient, Result]], hostname: str) -> bytes:
    """The per-message group and one group per recipient (RFC 3464 §2.2, §2.3)."""
    groups = [[("Reporting-MTA", f"dns; {hostname}"), ("Arrival-Date", date(envelope.received_at))]]
    if envelope.envid:
        groups[0].insert(0, ("Original-Envelope-Id", envelope.envid))
    for recipient, result in failures:
        kind = "rfc822" if recipient.address.is_ascii else "utf-8"
        group = [("Final-Recipient", f"{kind}; {recipient.address.mailbox}"), ("Action", "failed")]
        if recipient.original:
            group.insert(0, ("Original-Recipient", recipient.original))
        group.append(("Status", f"5{(result.reply.status or '5.0.0')[1:]}"))
        if result.remote:
            group.append(("Remote-MTA", f"dns; {result.remote}"))
        group.append(("Diagnostic-Code", f"smtp; {result.reply.line}"))
        groups.append(group)
    written = (b"".join(field_octets(name, value) for name, value in group) for group in groups)
    return b"\r\n".join(written)


def _digest(envelope: Envelope, failures: Sequence[tuple[Recipient, Result]], message: Message) -> str:
    digest = hashlib.blake2b(message.header, digest_size=16)
    for recipient, _ in failures:
        digest.update(recipient.address.mailbox.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(message.body)
    return digest.hexdigest()
