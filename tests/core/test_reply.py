"""The reply map: what of a remote reply may reach our client. Each row of docs/replies.md is a case here."""

import pytest

from mtaframe.reply import TEXT_LIMIT, Reply, Stage, for_client, for_log, is_our_fault, with_id

EARLY = (Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
LATE = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504, 530, 534, 535, 538, 555])
@pytest.mark.parametrize("stage", list(Stage))
def test_what_our_own_side_caused_is_451_and_an_alarm(code, stage):
    remote = Reply(code, "5.5.1", "you said it wrong")
    assert is_our_fault(remote)
    assert for_client(remote, stage).line.startswith("451 4.3.5 ")
    assert "you said" not in for_client(remote, stage).text


@pytest.mark.parametrize("stage", list(Stage))
def test_421_becomes_451(stage):
    assert for_client(Reply(421, "4.3.2", "going down"), stage) == Reply(451, "4.3.2", "going down")


@pytest.mark.parametrize("stage", EARLY)
def test_a_refusal_before_mail_is_temporary(stage):
    assert for_client(Reply(554, "5.7.1", "go away"), stage) == Reply(451, "4.7.1", "go away")


@pytest.mark.parametrize("stage", LATE)
@pytest.mark.parametrize("line", ["550 5.1.1 no such user", "552 5.2.2 full", "450 4.2.1 busy", "250 2.0.0 ok"])
def test_everything_else_is_passed_on_as_it_is(stage, line):
    assert for_client(Reply.parse(int(line[:3]), line[4:]), stage).line == line


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        (Reply(550, "4.1.1", "x"), "550 5.1.1 x"),
        (Reply(450, "5.2.1", "x"), "450 4.2.1 x"),
        (Reply(250, "5.0.0", "x"), "250 2.0.0 x"),
        (Reply(550, "", "x"), "550 5.0.0 x"),
        (Reply(451, "", "x"), "451 4.0.0 x"),
        (Reply(250, "", "x"), "250 2.0.0 x"),
    ],
)
def test_an_enhanced_status_that_contradicts_the_code_is_corrected(remote, told):
    assert for_client(remote, Stage.DOT).line == told


@pytest.mark.parametrize("code", [0, 99, 199, 300, 354, 399, 600, 999])
def test_what_is_no_final_reply_counts_as_temporary(code):
    assert for_client(Reply(code, "", "?"), Stage.DOT).code == 451


def test_text_is_one_line_of_printable_ascii_and_bounded():
    told = for_client(Reply(550, "5.1.1", "no\r\n250 ok\0 – \x1b[31m" + "x" * 1000), Stage.RCPT)
    assert told.line.startswith("550 5.1.1 no 250 ok [31mxxx") or told.line.startswith("550 5.1.1 no 250 ok")
    assert told.line.isascii()
    assert told.line.isprintable()
    assert len(told.text) <= TEXT_LIMIT


def test_a_reply_off_the_wire_gives_up_its_enhanced_status_on_every_line():
    assert Reply.parse(550, "5.1.1 no\n5.1.1 such user") == Reply(550, "5.1.1", "no\nsuch user")
    assert Reply.parse(250, "2.0.0") == Reply(250, "2.0.0", "")
    assert Reply.parse(250, "2.0.0.1 is no status") == Reply(250, "", "2.0.0.1 is no status")


def test_our_id_stays_even_behind_a_long_text():
    reply = with_id(Reply(250, "2.0.0", "y" * 1000), "0123456789abcdef")
    assert reply.line.endswith("[0123456789abcdef]")
    assert len(reply.line) < 512


def test_a_log_has_code_and_status_and_no_text():
    assert for_log(Reply(550, "5.1.1", "bob@example.net is unknown")) == "550 5.1.1"


def test_a_status_in_the_digits_of_another_script_is_none():
    reply = Reply.parse(250, "2.\u0660.\u0660 ok")
    assert (reply.status, reply.line.isascii()) == ("", True)
