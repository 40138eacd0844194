"""Which mail a rule means. Domains are compared in their xn-- form, header fields without case."""

from mtaframe import Delivery, Message, dns_name
from mtaframe_plugins.ip_pools.settings import HeaderSettings, RuleSettings


def fits(rule: RuleSettings, delivery: Delivery) -> bool:
    """Whether every condition that is written holds for this copy."""
    envelope = delivery.envelope
    return (
        (not rule.accounts or envelope.account in rule.accounts)
        and (not rule.streams or envelope.stream in rule.streams)
        and (not rule.recipient_domains or is_among(delivery.recipient.address.domain, rule.recipient_domains))
        and (not rule.sender_domains or any(is_among(each, rule.sender_domains) for each in sender_domains(delivery)))
        and (rule.header is None or _has(delivery.message, rule.header))
    )


def sender_domains(delivery: Delivery) -> tuple[str, ...]:
    """The domain of the reverse-path, if there is one, and that of the From field."""
    found = (delivery.reverse_path.domain if delivery.reverse_path else "", _from_domain(delivery.message))
    return tuple(filter(None, found))


def is_among(domain: str, patterns: tuple[str, ...]) -> bool:
    """Whether it is one of them, or below one that begins with a dot."""
    try:
        domain = dns_name(domain)
    except UnicodeError:
        return False
    return any(domain.endswith(pattern) if pattern.startswith(".") else domain == pattern for pattern in patterns)


def _from_domain(message: Message) -> str:
    """What stands behind the last @ of the From field: of several authors, the last one's."""
    return (message.first("From") or "").rpartition("@")[2].partition(">")[0].strip().rstrip(".").lower()


def _has(message: Message, wanted: HeaderSettings) -> bool:
    if wanted.value is None:
        return message.has(wanted.name)
    value = wanted.value.strip().casefold()
    return any(field.value.casefold() == value for field in message.all(wanted.name))
