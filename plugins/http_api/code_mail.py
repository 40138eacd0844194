"""Mails the code that shows that an address is the account holder's: mail of the server's own, of no account."""

import os

from mtaframe import Address, Envelope, HttpRequest, Mta, Outcome, Recipient, Session
from mtaframe_plugins.http_api.composing import composed
from mtaframe_plugins.http_api.outgoing import Mailbox, Outgoing

TEXT = """\
{code}

is the code which shows that this address is yours. Enter it where you have added the address, within a day.

If that was not you, do nothing: without the code nobody can use the address.
"""


async def mail_code(mta: Mta, request: HttpRequest, sender: Address, address: Address, code: str) -> str | None:
    """Code and status of the reply, if it was not delivered; never its text, which is the other side's."""
    mail = Outgoing(
        sender=Mailbox(sender),
        subject=f"Your code for {mta.hostname}",
        copies=(),
        text=TEXT.format(code=code),
        fields=(("Auto-Submitted", "auto-generated"),),
    )
    name, now = os.urandom(16).hex(), mta.clock.now()
    message = composed(mail, now).prepend("Message-ID", f"<{name}@{mta.hostname}>").prepend("To", address.mailbox)
    session = Session(
        id=request.id,
        client=request.client,
        listener=request.listener,
        protocol="HTTPS" if request.tls else "HTTP",
        tls=request.tls,
    )
    envelope = Envelope(
        id=os.urandom(8).hex(),
        session=session,
        reverse_path=sender,
        received_at=now,
        recipients=(Recipient(address),),
        smtputf8=not (sender.is_ascii and address.is_ascii),
    )
    [result] = await mta.submit(session, envelope, message, deadline=request.deadline)
    return None if result.outcome is Outcome.DELIVERED else f"{result.reply.code} {result.reply.status}".strip()
