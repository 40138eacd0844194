"""The door for clients: SMTP and LMTP in (RFC 5321, RFC 2033), and the only place that knows aiosmtpd."""

from mtaframe.smtp_server.server import SmtpServer

__all__ = ["SmtpServer"]
