"""What a result counts as: each kind of it once."""

import pytest

from mtaframe import EventType, Outcome, Route, event_type
from mtaframe.testing import reply, result

D, F, X, T = Outcome.DEFERRED, Outcome.FAILED, Outcome.DISCARDED, EventType


@pytest.mark.parametrize(
    ("outcome", "line", "by", "remote", "expected"),
    [
        (Outcome.DELIVERED, "250 2.0.0 ok", "smtp", "mx", T.DELIVERED),
        (X, "250 2.0.0 message discarded", "bin", None, T.BLOCK_HARD),
        (D, "450 4.2.1 greylisted", "smtp", "mx", T.DEFERRED),
        (D, "451 4.4.1 no connection", "smtp", None, T.DEFERRED),
        (D, "451 4.7.1 too many from your IP", "smtp", "mx", T.BLOCK_SOFT),
        (D, "450 4.2.0 listed by Spamhaus", "smtp", "mx", T.BLOCK_SOFT),
        (D, "451 4.7.5 no TLS", "smtp", None, T.DEFERRED),
        (D, "451 4.7.1 account limited", "thresholds", None, T.BLOCK_SOFT),
        (F, "550 5.1.1 no such user", "smtp", "mx", T.BOUNCE_HARD),
        (F, "550 5.0.0 no", "lmtp", "mx", T.BOUNCE_HARD),
        (F, "556 5.1.10 null MX", "smtp", None, T.BOUNCE_HARD),
        (F, "552 5.2.2 full", "smtp", "mx", T.BOUNCE_SOFT),
        (F, "552 5.3.4 too big", "smtp", "mx", T.BOUNCE_SOFT),
        (F, "550 5.7.1 rejected by policy", "smtp", "mx", T.BLOCK_HARD),
        (F, "554 5.0.0 looks like spam", "smtp", "mx", T.BLOCK_HARD),
        (F, "554 5.7.1 spam", "spam_filter", None, T.BLOCK_HARD),
        (F, "552 5.3.4 too big", "sandbox", None, T.BOUNCE_SOFT),
        (F, "554 5.4.7 given up: it could not be delivered in time", "hold", None, T.BOUNCE_SOFT),
    ],
)
def test_each_kind(outcome, line, by, remote, expected):
    route = Route(transport="sandbox") if by == "sandbox" else None
    assert event_type(result(outcome, reply=reply(line), by=by, remote=remote, route=route)) is expected
