"""Mail goes out here, by SMTP and LMTP. docs/delivery.md tells the policy."""

from mtaframe.smtp_client.client import SmtpClient

__all__ = ["SmtpClient"]
