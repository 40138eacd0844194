"""The reports of failure and of success, read back with the standard library's parser."""

import email
import email.policy

import pytest

from mtaframe import Message, Outcome
from mtaframe.dsn import report
from mtaframe.testing import VirtualClock, address, envelope, message, recipient, reply, result, route

NOW = VirtualClock().now()


def parsed(*failures, mail=None, **changes):
    sent = envelope([one for one, _ in failures], **changes)
    written = report(sent, mail or message(), failures, "mta.example.org", NOW)
    assert written.is_sound_header
    assert Message.parse(written.raw) == written
    return email.message_from_bytes(written.raw, policy=email.policy.default)


def failed(mailbox, line="550 5.1.1 no such user", **changes):
    return recipient(mailbox, **changes), result(Outcome.FAILED, reply=reply(line), remote="mx.example.net")


def test_it_is_a_report_with_three_parts_to_the_reverse_path():
    dsn = parsed(failed("bob@example.net"), failed("carol@example.net", "552 5.2.2 full"))
    assert dsn.get_content_type() == "multipart/report"
    assert dsn.get_param("report-type") == "delivery-status"
    assert dsn["To"] == "alice@example.com"
    assert dsn["Auto-Submitted"] == "auto-replied"
    assert [part.get_content_type() for part in dsn.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert not dsn.defects


def test_each_recipient_has_a_group_of_fields():
    dsn = parsed(
        failed("bob@example.net", original="rfc822;b@example.net"),
        failed("carol@example.net", "552 5.2.2 full"),
        envid="QQ314159",
    )
    whole, bob, carol = list(dsn.iter_parts())[1].get_payload()
    assert whole["Reporting-MTA"] == "dns; mta.example.org"
    assert whole["Original-Envelope-Id"] == "QQ314159"
    assert bob["Original-Recipient"] == "rfc822;b@example.net"
    assert bob["Final-Recipient"] == "rfc822; bob@example.net"
    assert (bob["Action"], bob["Status"], bob["Remote-MTA"]) == ("failed", "5.1.1", "dns; mx.example.net")
    assert carol["Diagnostic-Code"] == "smtp; 552 5.2.2 full"


def test_what_was_given_up_counts_as_failed():
    given_up = recipient("bob@example.net"), result(Outcome.DEFERRED, reply=reply("450 4.2.1 busy"))
    _, bob = list(parsed(given_up).iter_parts())[1].get_payload()
    assert (bob["Action"], bob["Status"]) == ("failed", "5.2.1")


def test_the_header_section_comes_back_and_the_whole_message_only_on_demand():
    assert b"Hello" not in parsed(failed("bob@example.net")).as_bytes()
    assert b"Hello" in parsed(failed("bob@example.net"), ret="FULL").as_bytes()


def test_remote_text_cannot_add_a_field():
    dsn = parsed(failed("bob@example.net", "550 5.1.1 no\r\nAction: delivered"))
    _, bob = list(dsn.iter_parts())[1].get_payload()
    assert bob.get_all("Action") == ["failed"]


def test_an_address_beyond_ascii_makes_it_a_global_report():
    dsn = parsed(failed("bøb@example.net"), reverse_path=address("ålice@example.com"))
    parts = list(dsn.iter_parts())
    assert parts[1].get_content_type() == "message/global-delivery-status"


def delivered(mailbox, transport="smtp", line="250 2.1.0 queued as 42", **changes):
    ended = result(reply=reply(line), remote="mx.example.net", route=route(transport=transport), took=2.0)
    return recipient(mailbox, **changes), ended


@pytest.mark.parametrize(("transport", "action"), [("smtp", "relayed"), ("lmtp", "delivered")])
def test_success_is_relayed_or_by_lmtp_delivered(transport, action):
    dsn = parsed(delivered("bob@example.net", transport, original="rfc822;b+c@example.net"), ret="FULL", envid="Q 1=2")
    assert dsn["Subject"] == "Successful mail delivery report"
    people, programs, original = dsn.iter_parts()
    assert "was delivered to this recipient" in people.get_content()
    whole, bob = programs.get_payload()
    assert whole["Original-Envelope-Id"] == "Q 1=2"
    assert bob["Original-Recipient"] == "rfc822;b+c@example.net"
    assert (bob["Action"], bob["Status"], bob["Remote-MTA"]) == (action, "2.1.0", "dns; mx.example.net")
    assert bob["Last-Attempt-Date"] == "Sun, 01 Mar 2026 12:00:02 +0000"
    # only a failure gives the whole message back (RFC 3461 §4.3)
    assert original.get_content_type() == "text/rfc822-headers"
    assert b"Hello" not in dsn.as_bytes()


def test_a_failure_says_so_for_the_whole_report():
    dsn = parsed(delivered("bob@example.net"), failed("carol@example.net"), ret="FULL")
    assert dsn["Subject"] == "Undelivered mail returned to sender"
    parts = list(dsn.iter_parts())
    assert [group["Action"] for group in parts[1].get_payload()[1:]] == ["relayed", "failed"]
    assert parts[2].get_content_type() == "message/rfc822"


def test_what_came_by_smtputf8_goes_back_as_global_headers():
    mail = message(fields={"Subject": "Grüße"})
    parts = list(parsed(failed("bob@example.net"), mail=mail, smtputf8=True).iter_parts())
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/delivery-status",
        "message/global-headers",
    ]
    parts = list(parsed(failed("bob@example.net"), mail=mail).iter_parts())
    assert parts[2].get_content_type() == "text/rfc822-headers"


def test_the_same_failure_gives_the_same_report():
    one, two = (report(envelope(), message(), [failed("bob@example.net")], "mta.example.org", NOW) for _ in range(2))
    assert one == two
