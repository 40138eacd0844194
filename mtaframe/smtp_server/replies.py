"""What the door says of its own accord; all else is said by reception."""

from mtaframe.reply import Reply

INTERNAL_ERROR = Reply(451, "4.3.0", "internal error, try again")
STOPPING = Reply(421, "4.3.2", "the service is stopping")
FULL = Reply(421, "4.3.2", "too many connections")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "too many errors")
UNKNOWN = Reply(500, "5.5.1", "the command is not known here")
NO_ARGUMENT = Reply(501, "5.5.4", "nothing may follow this command")
BAD_CHARACTERS = Reply(550, "5.6.11", "the message holds a bare CR or LF, or a NUL")
NO_RECIPIENT = Reply(503, "5.5.1", "no recipient was accepted")
CANT_GREET = Reply(421, "4.3.0", "internal error, try again")
BAD_EHLO_NAME = Reply(501, "5.5.4", "say your host name or address literal")
STARTTLS_OUT_OF_PLACE = Reply(503, "5.5.1", "STARTTLS is out of place here")
NO_STARTTLS = Reply(502, "5.5.1", "STARTTLS is not offered here")
INJECTED = Reply(421, "4.7.0", "nothing may be sent behind STARTTLS before TLS")
AUTH_OUT_OF_PLACE = Reply(503, "5.5.1", "AUTH is out of place here")
NO_AUTH = Reply(502, "5.5.1", "AUTH is not offered here")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "AUTH needs TLS")
TOO_MANY_FAILURES = Reply(421, "4.7.0", "too many failures")
UNDER_WAY = Reply(503, "5.5.1", "a transaction is under way")
MAIL_FIRST = Reply(503, "5.5.1", "MAIL comes first")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "too many recipients")


def ehlo(hostname: str, max_size: int, starttls: bool, auth: bool) -> str:
    """The answer to EHLO and LHLO: our name and what we do, nothing that we don't."""
    lines = [hostname, f"SIZE {max_size}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
    lines += ["STARTTLS"] * starttls + ["AUTH PLAIN LOGIN"] * auth + ["ENHANCEDSTATUSCODES"]
    return "\r\n".join(f"250-{line}" for line in lines[:-1]) + f"\r\n250 {lines[-1]}"
