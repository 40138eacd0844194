"""Writes a delivery status notification (RFC 3464, in RFC 6522's frame): who failed, or who got the mail."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from mtaframe.delivery import Outcome, Result
from mtaframe.envelope import Envelope, Recipient
from mtaframe.message import Message, field_octets
from mtaframe.trace import date

Told = Sequence[tuple[Recipient, Result]]

FAILED = """\
This is {hostname}. Your message could not be delivered to {these}.
It is not tried again for them.

{lines}

The next part says the same for programs; behind it stands {rest}.
"""

SUCCEEDED = """\
This is {hostname}. Your message was delivered to {these},
or passed on to a server that sends no such reports.

{lines}

The next part says the same for programs; behind it stands {rest}.
"""


def report(envelope: Envelope, message: Message, told: Told, hostname: str, at: datetime) -> Message:
    """A message from the null reverse-path to the envelope's. Equal input gives equal octets.

    Who is not delivered counts as failed. With a failure RET=FULL (RFC 3461 §4.3) returns the whole message; all else
    the header section alone.
    """
    assert envelope.reverse_path is not None
    has_failed = any(_action(result) == "failed" for _, result in told)
    boundary = f"=_{_digest(told, message)}"
    parts = [
        _for_people(told, hostname, has_failed, has_failed and envelope.ret == "FULL"),
        _for_programs(envelope, told, hostname),
        _returned(message, envelope.smtputf8, has_failed and envelope.ret == "FULL"),
    ]
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
        "Subject": "Undelivered mail returned to sender" if has_failed else "Successful mail delivery report",
        "Date": date(at),
        "Message-ID": f"<{boundary[2:]}@{hostname}>",
        "Auto-Submitted": "auto-replied",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
        "Content-Transfer-Encoding": encoding,
    }
    header = b"".join(field_octets(name, value) for name, value in fields.items())
    return Message(header, body)


def _for_people(told: Told, hostname: str, has_failed: bool, is_full: bool) -> tuple[str, bytes]:
    lines = [f"<{recipient.address.mailbox}>:\n    {result.reply.line}" for recipient, result in told]
    these = "this recipient" if len(lines) == 1 else f"these {len(lines)} recipients"
    rest = "your message" if is_full else "its header section"
    text = (FAILED if has_failed else SUCCEEDED).format(
        hostname=hostname, these=these, lines="\n".join(lines), rest=rest
    )
    return f"text/plain; charset={'us-ascii' if text.isascii() else 'utf-8'}", text.replace("\n", "\r\n").encode()


def _for_programs(envelope: Envelope, told: Told, hostname: str) -> tuple[str, bytes]:
    """The per-message group and one group per recipient (RFC 3464 §2.2, §2.3; RFC 6533 §4 beyond ASCII)."""
    groups = [[("Reporting-MTA", f"dns; {hostname}"), ("Arrival-Date", date(envelope.received_at))]]
    if envelope.envid:
        groups[0].insert(0, ("Original-Envelope-Id", envelope.envid))
    groups += [_group(recipient, result) for recipient, result in told]
    content = b"\r\n".join(b"".join(field_octets(name, value) for name, value in group) for group in groups)
    return f"message/{'delivery-status' if content.isascii() else 'global-delivery-status'}", content


def _group(recipient: Recipient, result: Result) -> list[tuple[str, str]]:
    kind, action = "rfc822" if recipient.address.is_ascii else "utf-8", _action(result)
    status = result.reply.status or "x.0.0"
    fields = [("Original-Recipient", recipient.original)] if recipient.original else []
    fields += [
        ("Final-Recipient", f"{kind}; {recipient.address.mailbox}"),
        ("Action", action),
        ("Status", f"{'5' if action == 'failed' else '2'}{status[1:]}"),
    ]
    if result.remote:
        fields.append(("Remote-MTA", f"dns; {result.remote}"))
    fields.append(("Diagnostic-Code", f"smtp; {result.reply.line}"))
    if result.began:
        fields.append(("Last-Attempt-Date", date(result.began + timedelta(seconds=result.took))))
    return fields


def _action(result: Result) -> str:
    """RFC 3464 §2.3.3: by LMTP the next hop delivers (RFC 2033), else it may pass the mail on."""
    if result.outcome is not Outcome.DELIVERED:
        return "failed"
    return "delivered" if result.route is not None and result.route.transport == "lmtp" else "relayed"


def _returned(message: Message, utf8: bool, is_full: bool) -> tuple[str, bytes]:
    """The original, or its header section (RFC 6522 §3; RFC 6533 §5 for what came by SMTPUTF8)."""
    utf8 = utf8 and not message.header.isascii()
    if is_full:
        return f"message/{'global' if utf8 else 'rfc822'}", message.raw
    return "message/global-headers" if utf8 else "text/rfc822-headers", message.header


def _digest(told: Told, message: Message) -> str:
    digest = hashlib.blake2b(message.header, digest_size=16)
    for recipient, result in told:
        digest.update(recipient.address.mailbox.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(_action(result).encode() + b"\0")
    digest.update(message.body)
    return digest.hexdigest()
