"""A copy that nobody sent, for ``mtaframe egress explain``: only what pools are chosen by is in it."""

from datetime import datetime

from mtaframe import Address, CommandError, Delivery, Envelope, Message, Recipient, Session


def rehearsed(
    recipient: str, account: str | None, stream: str | None, sender: str | None, header: str | None, now: datetime
) -> Delivery:
    """A delivery as the command line describes it. CommandError if it can't be one."""
    to = _address(recipient, "ADDRESS")
    reverse_path = _address(sender if "@" in sender else f"sender@{sender}", "--from") if sender else None
    message = Message(b"", b"")
    try:
        if header is not None:
            name, _, value = header.partition(":")
            message = message.prepend(name.strip(), value.strip())
    except ValueError:
        raise CommandError('a header field is written as "Name: value"') from None
    session = Session("explain", "", "explain", account=account)
    one = Recipient(to)
    envelope = Envelope("explain", session, reverse_path, now, (one,), account=account, stream=stream)
    return Delivery("explain", envelope, one, reverse_path, message)


def _address(text: str, place: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise CommandError(f"{place}: {error}") from None
