"""How tags are written, and what becomes of those without a value."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtaframe import Account, Delivery, Envelope, Message, Private, Reject, parts, variable
from mtaframe.testing import RecordingMta, account, delivery, envelope, message, recipient, session
from mtaframe_plugins.merge_tags import MergeTags
from mtaframe_plugins.merge_tags.dialects import Literal

JOE, EVE = "joe@example.net", "eve@example.org"


def plugin(*accounts: Account, **config: object) -> MergeTags:
    return MergeTags(MergeTags.Config.model_validate(config), RecordingMta(accounts=accounts))


def vars_of(values: object) -> Private[Any]:
    found = variable(values)
    assert isinstance(found, Private)
    return found


def answer(original: Message, values: object, **config: object) -> Delivery | Reject | None:
    return plugin(**config).before_sign(delivery(recipient(JOE, merge_vars=vars_of(values)), message=original))


def filled(body: str, values: object, **config: object) -> str:
    original = message(body=body)
    found = answer(original, values, **config)
    assert not isinstance(found, Reject)
    return (found.message if found else original).body.decode().removesuffix("\r\n")


def field(name: str, value: str, values: object, **config: object) -> str:
    found = answer(message(fields={name: value}), values, **config)
    assert isinstance(found, Delivery)
    return found.message.first(name) or ""


def taken(fields: str, *to: str, mail: Envelope | None = None, **config: object) -> tuple[Envelope, Message]:
    original = message(fields={"X-Merge-Vars": fields}, body="x\n")
    found = plugin(**config).on_data(mail or envelope(to or [JOE]), original)
    assert isinstance(found, tuple)
    return found


# Braces


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Dear {{name}} {{ name }} {{\tname}}", "Dear Joe Joe Joe"),
        ("{{{name}}} {{{{name}}}} {{name} {name}} {{na me}} {{}}", "Joe {Joe} {{name} {name}} {{na me}} {{}}"),
        ("{{other}} {{Name}} [name]", "{{other}} {{Name}} [name]"),
        ("{{order.id}} {{order.none}} {{a.b}} {{order}} {{order.lines.0}}", "7 {{order.none}} dotted {{order}} {{order.lines.0}}"),  # noqa: E501
        ("{{yes}} {{first-name}} {{none}} {{half}}", "true J {{none}} 0.5"),
    ],
)  # fmt: skip
def test_braces(body: str, expected: str) -> None:
    values = {
        "name": "Joe", "order": {"id": 7, "lines": [1]}, "a.b": "dotted", "yes": True, "first-name": "J", "none": None,
        "half": 0.5,
    }  # fmt: skip
    assert filled(body, values, dialect="braces") == expected


def test_three_braces_are_escaped_too() -> None:
    html = message(fields={"MIME-Version": "1.0", "Content-Type": "text/html"}, body="<p>{{{a}}}</p>\n")
    found = answer(html, {"a": "<b>"}, dialect="braces")
    assert isinstance(found, Delivery)
    assert found.message.body == b"<p>&lt;b&gt;</p>\r\n"


# Literal


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Dear -name-, %name%! :name :nam", "Dear Joe, J! X :nam"),
        ("-name--name-", "JoeJoe"),
        (":name2 :names", "Y Xs"),
        ("*|NAME|* <%n%> .*", "M T .*"),
    ],
)
def test_literal(body: str, expected: str) -> None:
    values = {"-name-": "Joe", "%name%": "J", ":name": "X", ":name2": "Y", "*|NAME|*": "M", "<%n%>": "T"}
    assert filled(body, values, dialect="literal") == expected


def test_what_was_filled_in_is_not_looked_at_again() -> None:
    assert filled("-a- -b-", {"-a-": "-b-", "-b-": "-a-"}, dialect="literal") == "-b- -a-"
    assert filled("{{a}}{{b}}", {"a": "{{b}}", "b": "{{a}}"}, dialect="braces") == "{{b}}{{a}}"
    assert filled("{{a}}{{b}}", {"a": "{{b}}", "b": "{{a}}"}, dialect="templates") == "{{b}}{{a}}"


@settings(deadline=None)
@given(
    st.lists(st.text("ab-%", min_size=1, max_size=6), min_size=1, max_size=8, unique=True),
    st.text("ab-%x", max_size=40),
)
def test_the_longest_name_wins_as_a_plain_search_finds_it(names: list[str], text: str) -> None:
    found = [text[start:end] for start, end, _ in Literal(names).tags(text)]
    expected, at = [], 0
    while at < len(text):
        here = max((name for name in names if text.startswith(name, at)), key=len, default="")
        expected += [here] if here else []
        at += len(here) or 1
    assert found == expected


def test_names_with_the_signs_of_an_address_list_stand_in_display_names() -> None:
    values = {":name": "Smith, Joe", "<%n%>": "T", "%x%": "y"}
    assert field("To", ":name <joe@example.net>, <%n%> <t@example.net>", values, dialect="literal") == (
        '"Smith, Joe" <joe@example.net>, T <t@example.net>'
    )
    assert field("To", "a <%x%@example.net>", values, dialect="literal") == "a <y@example.net>"


def test_names_are_those_of_all_recipients() -> None:
    mail = envelope([recipient(JOE, merge_vars={"-a-": "x"}), recipient(EVE, merge_vars={"-b-": "y"})])
    original = message(body="-a- -b-\n")
    subject = plugin(dialect="literal", on_missing="empty")
    found = subject.before_sign(delivery(mail.recipients[0], envelope=mail, message=original))
    assert isinstance(found, Delivery)
    assert found.message.body == b"x \r\n"


# What has no value


@pytest.mark.parametrize(
    ("dialect", "body", "empty"),
    [
        ("tags", "a [NAME] [B] [sic]", "a Joe  [sic]"),
        ("braces", "a {{NAME}} {{B}} [sic]", "a Joe  [sic]"),
        ("literal", "a NAME B sic", "a Joe  sic"),
        ("templates", "a {{ NAME }} {{ B }} [sic]", "a Joe  [sic]"),
    ],
)
def test_each_way_with_a_tag_without_a_value(dialect: str, body: str, empty: str) -> None:
    mail = envelope([recipient(JOE, merge_vars={"NAME": "Joe"}), recipient(EVE, merge_vars={"B": "x"})])
    original = message(body=f"{body}\n")
    copy = delivery(mail.recipients[0], envelope=mail, message=original)
    found = {way: plugin(dialect=dialect, on_missing=way).before_sign(copy) for way in ("keep", "empty", "reject")}
    refused, emptied, kept = found["reject"], found["empty"], found["keep"]
    assert isinstance(refused, Reject)
    assert refused.reply.line == "554 5.6.0 a merge tag has no value for this recipient"
    assert isinstance(emptied, Delivery)
    assert emptied.message.body.decode() == f"{empty}\r\n"
    assert isinstance(kept, Delivery)
    expected = (
        empty
        if dialect == "templates"
        else body.replace("[NAME]", "Joe").replace("{{NAME}}", "Joe").replace("NAME", "Joe")
    )
    assert kept.message.body.decode() == f"{expected}\r\n"


def test_a_recipient_without_any_variable_is_not_passed_over() -> None:
    mail = envelope([recipient(JOE), recipient(EVE, merge_vars={"NAME": "Eve"})])
    copy = delivery(mail.recipients[0], envelope=mail, message=message(body="[NAME] [URGENT]\n"))
    assert plugin().before_sign(copy) is None
    assert isinstance(plugin(on_missing="reject").before_sign(copy), Reject)
    emptied = plugin(on_missing="empty").before_sign(copy)
    assert isinstance(emptied, Delivery)
    assert emptied.message.body == b" [URGENT]\r\n"


def test_names_count_that_only_another_transaction_has_values_for() -> None:
    variables = json.dumps({EVE: {"NAME": "Eve"}})
    mail, original = taken(variables, JOE, on_missing="reject")
    copy = delivery(mail.recipients[0], envelope=mail, message=original.with_body(b"[NAME]\r\n"))
    assert isinstance(plugin(on_missing="reject").before_sign(copy), Reject)


def test_there_may_not_be_endlessly_many_names() -> None:
    variables = json.dumps({"*": {f"N{number}": "" for number in range(9000)}})
    original = message(fields={"X-Merge-Vars": variables})
    assert isinstance(plugin().on_data(envelope([JOE]), original), tuple)
    assert isinstance(plugin(on_missing="reject").on_data(envelope([JOE]), original), Reject)


@pytest.mark.parametrize("dialect", ["tags", "braces", "templates"])
def test_an_unquoted_attribute_is_never_left_without_a_value(dialect: str) -> None:
    tag = {"tags": "[A]", "braces": "{{A}}", "templates": "{{A}}"}[dialect]
    html = message(fields={"MIME-Version": "1.0", "Content-Type": "text/html"}, body=f"<img src={tag} alt=x>\n")
    mail = envelope([recipient(JOE), recipient(EVE, merge_vars={"A": "x"})])
    found = plugin(dialect=dialect, on_missing="empty").before_sign(
        delivery(mail.recipients[0], envelope=mail, message=html)
    )
    assert isinstance(found, Delivery)
    assert found.message.body == b"<img src=&#32; alt=x>\r\n"


# Who chooses


async def test_an_account_that_does_not_exist_is_a_fault() -> None:
    with pytest.raises(ValueError, match=r'conf/merge_tags.toml: there is no account "shop"'):
        await plugin(account={"shop": {"dialect": "braces"}}).start()
    await plugin(account("shop"), account={"shop": {"dialect": "braces"}}).start()


def test_a_message_chooses_before_its_account_and_that_before_the_default() -> None:
    subject = plugin(account={"shop": {"dialect": "braces"}, "other": {"on_missing": "reject"}})
    body = "[A] {{A}} %A%"

    def got(mail: Envelope) -> str:
        joe = recipient(JOE, merge_vars={"A": "x", "%A%": "y"})
        found = subject.before_sign(delivery(joe, envelope=mail.with_recipients((joe,)), message=message(body=body)))
        return found.message.body.decode().strip() if isinstance(found, Delivery) else str(found)

    assert got(envelope()) == "x {{A}} %A%"
    assert got(envelope(account="shop")) == "[A] x %A%"
    assert got(envelope(account="other")) == "x {{A}} %A%"
    noted = envelope(account="shop").with_note("merge_tags.dialect", "literal")
    assert got(noted) == "[x] {{x}} y"
    with pytest.raises(ValueError, match="must be one of tags, braces"):
        got(envelope().with_note("merge_tags.dialect", "secret"))


def test_the_field_is_read_as_the_dialect_has_it() -> None:
    mail, _ = taken(
        '{"*": {"A": [1.50, {"b": null}], "N": 2, "BIG": 1234567890123456789012345678901234}}', dialect="templates"
    )
    assert mail.recipients[0].merge_vars == Private(
        {"A": (1.5, Private({"b": None})), "N": 2, "BIG": "1234567890123456789012345678901234"}
    )
    mail, _ = taken('{"*": {"%a b%": 1.50}}', dialect="literal")
    assert dict(mail.recipients[0].merge_vars) == {"%a b%": "1.50"}
    mail, _ = taken('{"*": {"a.b-c": 1.50, "d": {"e": ["x"]}}}', dialect="braces")
    assert mail.recipients[0].merge_vars["a.b-c"] == "1.50"


@pytest.mark.parametrize(
    ("dialect", "variables"),
    [
        ("tags", '{"*": {"A": ["secret"]}}'),
        ("literal", '{"*": {"A": {"secret": 1}}}'),
        ("literal", '{"*": {"": "secret"}}'),
        ("literal", '{"*": {"a\\nsecret": "x"}}'),
        ("braces", '{"*": {"secret secret": "x"}}'),
        ("templates", '{"*": {"_secret": "x"}}'),
        ("templates", '{{"*": {{"A": {}"secret"{}}}}}'.format("[" * 30, "]" * 30)),
        ("templates", '{"*": {"A": NaN, "secret": 1}}'),
        ("templates", '{"*": {"A": 1e999, "secret": 1}}'),
        ("templates", '{"*": {"A": ["secret\\ud800"]}}'),
    ],
)
def test_what_no_dialect_can_read_is_refused_unquoted(dialect: str, variables: str) -> None:
    found = plugin(dialect=dialect).on_data(envelope([JOE]), message(fields={"X-Merge-Vars": variables}))
    assert isinstance(found, Reject)
    assert (found.code, found.status) == (554, "5.6.0")
    assert "secret" not in found.reply.line


def test_values_that_are_equal_but_written_otherwise_do_not_share_a_copy() -> None:
    original, subject = message(body="[A]\n"), plugin()
    for value, expected in ((1, b"1\r\n"), (True, b"true\r\n"), (1.0, b"1.0\r\n"), (1, b"1\r\n")):
        found = subject.before_sign(delivery(recipient(JOE, merge_vars={"A": value}), message=original))
        assert isinstance(found, Delivery)
        assert found.message.body == expected


def test_a_report_of_our_own_is_no_template() -> None:
    mail = envelope([JOE], session=session(protocol="DSN"))
    copy = delivery(mail.recipients[0], envelope=mail, message=message(body="{{ broken\n"))
    assert plugin(dialect="templates").before_sign(copy) is None


# Places that are new to all dialects


def mixed(kind: str, content: str, disposition: str = "attachment; filename=a.x") -> Message:
    head = {"MIME-Version": "1.0", "Content-Type": "multipart/mixed; boundary=B"}
    fields: dict[str, str | None] = {**head}
    part = f"--B\nContent-Type: {kind}; charset=utf-8\nContent-Disposition: {disposition}\n\n{content}\n--B--\n"
    return message(fields=fields, body=part)


@pytest.mark.parametrize(
    ("kind", "content", "value", "expected"),
    [
        ("text/plain", "Dear [A]", "<J>", "Dear <J>"),
        ("text/html", "<p>[A]</p>", "<J>", "<p>&lt;J&gt;</p>"),
        ("text/markdown", "# [A]", "J", "# J"),
        ("text/csv", "x,[A]\n1,[A]", "J", "x,J\r\n1,J"),
        ("text/csv", "x,[A],z", 'Smith, "J"\nq', 'x,"Smith, ""J"" q",z'),
        ("text/csv", 'x,"Mr [A]",z', 'S, "J"', 'x,"Mr S, ""J""",z'),
        ("text/csv", "x;Mr [A];z", 'S, "J";a', "x;Mr S   J a;z"),
        ("text/tab-separated-values", "a\t[A]\tb", "x\ty", "a\tx y\tb"),
        ("text/calendar", "SUMMARY:[A]", "J", "SUMMARY:[A]"),
        ("application/json", "[A]", "J", "[A]"),
    ],
)
def test_attached_text_is_filled_in_as_its_kind_needs_it(kind: str, content: str, value: str, expected: str) -> None:
    original = mixed(kind, content)
    found = answer(original, {"A": value})
    copy = found.message if isinstance(found, Delivery) else original
    assert (parts(copy)[1].octets or b"").decode() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Joe", "for Joe.pdf"),
        ("Jörg", "for Jörg.pdf"),
        ("../a:b\r\nX: y", "for .._a_b X_ y.pdf"),
        ("€" * 200, f"for {'€' * 200}.pdf"),
    ],
)
def test_names_of_attachments_are_filled_in(value: str, expected: str) -> None:
    original = mixed("application/pdf", "x", 'attachment; filename="for [A].pdf"')
    found = answer(original, {"A": value})
    assert isinstance(found, Delivery)
    part = parts(found.message)[1]
    assert part.filename == expected
    assert part.content == b"x"
    assert [f.name for f in part.section.fields] == ["Content-Type", "Content-Disposition"]


@pytest.mark.parametrize(
    ("dialect", "tag"), [("tags", "[A]"), ("braces", "{{A}}"), ("literal", "A!"), ("templates", "{{ A }}")]
)
def test_custom_data_stays_the_json_that_it_was(dialect: str, tag: str) -> None:
    value = 'x", "admin": true, "y": "é\\'
    text = field("X-Vars", f'{{"who": "{tag}", "n": 1}}', {tag.strip("[{ }]"): value}, dialect=dialect)
    assert json.loads(text) == {"who": value, "n": 1}
    if dialect != "templates":
        original = message(fields={"X-Vars": f'{{"who": {tag}}}'})
        assert answer(original, {tag.strip("[{ }]"): '1, "b": 2'}, dialect=dialect) is None


@pytest.mark.parametrize(
    ("dialect", "sender", "name", "value"),
    [
        ("literal", "me@shop.example", "shop.example", "bank.example"),
        ("literal", '"boss@bank.example, me" <me@shop.example>', '"', " "),
        ("tags", "<[A]@shop.example>", "A", "boss@bank.example"),
        ("tags", "[A]", "A", "boss@bank.example"),
        ("braces", "{{A}}@shop.example", "A", "boss@bank.example"),
        ("templates", "boss@bank.example {# <me@shop.example> #}", "A", ""),
    ],
)
def test_no_value_changes_whose_mail_it_is_once_that_was_looked_at(
    dialect: str, sender: str, name: str, value: str
) -> None:
    found = answer(message(fields={"From": sender}), {name: value}, dialect=dialect)
    assert found == Reject("a merge tag may not change the domain in the From field", "5.6.0", 554)


def test_the_local_part_of_the_sender_may_differ_from_copy_to_copy() -> None:
    assert field("From", "Shop <news-[A]@shop.example>", {"A": "17"}) == "Shop <news-17@shop.example>"


@pytest.mark.parametrize(
    "names", [["a" * 5000, "a" * 4999], [f"{number:040}" for number in range(1000)]], ids=["long", "many"]
)
def test_literal_names_that_no_field_has_brought_are_bounded_too(names: list[str]) -> None:
    found = answer(message(body="x\n"), dict.fromkeys(names, "x"), dialect="literal")
    assert isinstance(found, Reject)
    assert "too long or too many" in found.text


def test_what_is_everybodys_is_in_memory_once_and_more_is_refused() -> None:
    names, people = {f"n{number}": 1 for number in range(2000)}, [f"u{number}@example.net" for number in range(501)]
    mail, _ = taken(json.dumps({"*": names}), *people)
    assert len({id(one.merge_vars) for one in mail.recipients}) == 1
    own = {one: {"A": "x"} for one in people}
    original = message(fields={"X-Merge-Vars": json.dumps({"*": names} | own)})
    found = plugin().on_data(envelope(people), original)
    assert found == Reject("X-Merge-Vars: there are too many variables for so many recipients", "5.6.0", 554)
