"""``mtaframe send``: one message by SMTP, and the server's very words."""

import smtplib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import click

from mtaframe.cli.options import conf_option, json_option
from mtaframe.cli.printing import Failed, Unreachable, faulty, print_json, printable
from mtaframe.cli.run import real_addresses, smtp_address

_LONGEST = 310.0
"""Seconds to wait for a reply: longer than a listener's patience."""


@click.command(short_help="Send one message by SMTP, and show the replies.")
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--from", "reverse_path", required=True, metavar="ADDRESS", help="The reverse-path; <> is the null one.")
@click.option("--to", "recipients", required=True, multiple=True, metavar="ADDRESS", help="A recipient; repeatable.")
@click.option("--subject", default="Test from mtaframe", show_default=True, help="The subject, without FILE.")
@click.option("--body", default="Hello.\n", help="The body, without FILE.")
@click.option("--server", metavar="HOST:PORT", help="Where to send. Default: the first SMTP listener.")
@conf_option
@json_option
def send(
    file: BinaryIO | None,
    reverse_path: str,
    recipients: tuple[str, ...],
    subject: str,
    body: str,
    server: str | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Send one message by SMTP and print the replies: FILE (- is the standard input), or a short one made up here."""
    octets = file.read() if file else _made_up(reverse_path, recipients, subject, body)
    host, port = _host_and_port(server or _default_server(folder))
    replies: list[dict[str, Any]] = []
    try:
        with smtplib.SMTP(host, port, timeout=_LONGEST) as smtp:
            accepted = _transmit(smtp, reverse_path, recipients, crlf(octets), replies)
    except (OSError, smtplib.SMTPException) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreachable(f"{host}:{port} does not take mail: {printable(str(text))}") from None
    if as_json:
        print_json({"accepted": accepted, "replies": replies})
    else:
        for reply in replies:
            click.echo(f"{reply['command']}: {reply['code']} {printable(reply['text'])}")
    if not accepted:
        raise Failed(f"the message was refused: {replies[-1]['code']} to {replies[-1]['command']}")


def _transmit(
    smtp: smtplib.SMTP, reverse_path: str, recipients: tuple[str, ...], octets: bytes, replies: list[dict[str, Any]]
) -> bool:
    """One transaction; stops at the first refusal, for every recipient is to get the message."""

    def asked(command: str, ask: Callable[[], tuple[int, bytes]]) -> bool:
        code, text = ask()
        replies.append({"command": command, "code": code, "text": text.decode("utf-8", "replace")})
        return 200 <= code < 300

    smtp.ehlo_or_helo_if_needed()
    sender = "" if reverse_path == "<>" else reverse_path
    if not all(address.isascii() for address in (sender, *recipients)) and not smtp.has_extn("SMTPUTF8"):
        raise Failed("the server does not offer SMTPUTF8, which an address beyond ASCII needs")
    options = [
        option
        for option, wanted in (
            ("SMTPUTF8", not all(address.isascii() for address in (sender, *recipients))),
            ("BODY=8BITMIME", not octets.isascii()),
        )
        if wanted and smtp.has_extn(option.removeprefix("BODY="))
    ]
    try:
        return (
            asked(f"MAIL FROM:<{sender}>", lambda: smtp.mail(sender, options))
            and all(asked(f"RCPT TO:<{address}>", _rcpt(smtp, address)) for address in recipients)
            and asked("the final dot", lambda: smtp.data(octets))
        )
    except smtplib.SMTPDataError as error:
        code, text = error.smtp_code, error.smtp_error
        return asked("DATA", lambda: (code, text if isinstance(text, bytes) else text.encode()))


def _rcpt(smtp: smtplib.SMTP, address: str) -> Callable[[], tuple[int, bytes]]:
    return lambda: smtp.rcpt(address)


def _default_server(folder: Path) -> str:
    from mtaframe.assembly import read
    from mtaframe.config import ConfigError

    try:
        listeners = read(folder).settings.listener
    except ConfigError as error:
        raise faulty(error, folder) from None
    address = smtp_address(listeners, real_addresses(folder))
    if address is None:
        raise Failed(f"no listener in {folder} takes SMTP in clear over TCP: say --server HOST:PORT")
    return address


def _host_and_port(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError('a server is written as "127.0.0.1:2525"', click.get_current_context())
    return host.strip("[]"), int(port)


def _made_up(reverse_path: str, recipients: tuple[str, ...], subject: str, body: str) -> bytes:
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import localtime, make_msgid

    message = EmailMessage(SMTP)
    try:
        message["From"] = "postmaster@localhost" if reverse_path == "<>" else reverse_path
        message["To"] = ", ".join(recipients)
        message["Subject"] = subject
    except ValueError as error:
        raise Failed(f"no message can be made of that: {error}") from None
    message["Date"] = localtime()
    message["Message-ID"] = make_msgid(domain="mtaframe.invalid")
    message.set_content(body)
    return message.as_bytes()


def crlf(octets: bytes) -> bytes:
    """The same lines, ended as mail ends them: a file of this system has LF alone."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
