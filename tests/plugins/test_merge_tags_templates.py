# ruff: noqa: E501
"""The template language: what it can do, what it can't, and what it may cost."""

import json
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtaframe import Delivery, Message, Private, Reject, parts, variable
from mtaframe.testing import RecordingMta, delivery, message, recipient
from mtaframe_plugins.merge_tags import MergeTags
from tests.conftest import ROOT

JOE = "joe@example.net"
CANARY = "canary-7f3a"
ORDER = {
    "name": "joe",
    "vip": True,
    "total": 19.5,
    "items": [{"n": "B", "price": 1.5, "count": 2}, {"n": "A", "price": 2, "count": 1}],
    "note": '<b>"it\'s" & co',
    "nothing": None,
    "table": {"x": 1, "y": [2, 3]},
}


def plugin(**config: object) -> MergeTags:
    return MergeTags(MergeTags.Config.model_validate({"dialect": "templates"} | config), RecordingMta())


def page(body: str, kind: str = "text/plain", **fields: str) -> Message:
    head: dict[str, str | None] = {"MIME-Version": "1.0", "Content-Type": f"{kind}; charset=utf-8"}
    return message(fields=head | {"Content-Transfer-Encoding": "8bit"} | fields, body=body)


def answer(original: Message, values: object = None, **config: object) -> Delivery | Reject | None:
    found = variable(values or {})
    assert isinstance(found, Private)
    return plugin(**config).before_sign(delivery(recipient(JOE, merge_vars=found), message=original))


def filled(body: str, values: object = None, kind: str = "text/plain", **config: object) -> str:
    original = page(body, kind)
    found = answer(original, values, **config)
    assert not isinstance(found, Reject), found.reply.line
    return parts(found.message if found else original)[0].text or ""


def refusal(body: str, values: object = None, **config: object) -> str:
    found = answer(page(body), values, **config)
    assert isinstance(found, Reject)
    return found.reply.line


# What it can do


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Dear {{ name|title }}, {{ name|upper }} {{ name|capitalize }} {{ name|length }}", "Dear Joe, JOE Joe 3"),
        ("{{ no|default('x') }} {{ nothing|default('x', true) }} {{ name|d('x') }} {{ no }}{{ nothing }}", "x x joe "),
        ("{% if vip and total > 10 %}a{% elif name %}b{% else %}c{% endif %}", "a"),
        ("{% if not vip or total <= 10 %}a{% elif no %}b{% else %}c{% endif %}", "c"),
        ("{{ 'y' if vip else 'n' }}{{ 'y' if no }}{{ 1 < 2 < 3 }} {{ 1 == true }} {{ vip }}", "ytrue true true"),
        ("{% for i in items %}{{ loop.index }}/{{ loop.length }} {{ i.n }}{{ ', ' if not loop.last }}{% endfor %}", "1/2 B, 2/2 A"),
        ("{% for i in items if i.count == 1 %}{{ loop.index }}{{ i.n }}{% else %}-{% endfor %}", "1A"),
        ("{% for i in no %}x{% else %}-{% endfor %}{% for k in table %}{{ k }}{% endfor %}", "-xy"),
        ("{% for k, v in table.items() %}{{ k }}{{ v is sequence }} {% endfor %}", "xfalse ytrue "),
        ("{% set a = total * 2 + 1 %}{{ a }} {{ a // 7 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ -a }} {{ 7 / 2 }}", "40.0 5.0 3 1024 -40.0 3.5"),
        ("{% set a = 1 %}{% for i in items %}{% set a = 2 %}{% endfor %}{{ a }}", "1"),
        ("{{ items|map(attribute='n')|join(', ') }} {{ items|join('-', attribute='n') }}", "B, A B-A"),
        ("{{ items|sort(attribute='n')|map(attribute='n')|join }} {{ items|sum(attribute='price') }}", "AB 3.5"),
        ("{{ [3, 1, 2]|sort|join(' ') }} {{ [3, 1]|max }} {{ [3, 1]|min }} {{ [1, 2]|first }}{{ [1, 2]|last }}", "1 2 3 3 1 12"),
        ("{{ items[0].n }}{{ items[-1]['n'] }}{{ items[9].n }}{{ name[0] }}{{ name[1:] }}{{ name|reverse }}", "BAjoeeoj"),
        ("{{ '%.2f'|format(total) }} {{ '%05d|%s%%'|format(7, name) }} {{ total|round(0) }} {{ '7'|int + 1 }}", "19.50 00007|joe% 20.0 8"),
        ("{{ 'x'|int }} {{ '1.5'|float }} {{ 'a b c'|replace(' ', '-') }} {{ ' x '|trim }}! {{ -3|abs }}", "0 1.5 a-b-c x! 3"),
        ("{{ 'one two three'|truncate(9) }} {{ 'one two three'|truncate(9, true, '') }}", "one two… one two t"),
        ("{{ 'a/b c'|urlencode }} {{ table|tojson }} {{ 'x' ~ 1 ~ no }} {{ 'a' * 3 }}", 'a%2Fb%20c {"x": 1, "y": [2, 3]} x1 aaa'),
        ("{{ 'o' in name }} {{ 2 in [1, 2] }} {{ 'x' in table }} {{ 'z' not in table }}", "true true true true"),
        ("{{ 3 is odd }} {{ name is defined }} {{ no is undefined }} {{ 6 is divisibleby(3) }}", "true true true true"),
        ("{% raw %}{{ name }}{% endraw %}{# gone #} {{- name -}} {{ range(3)|join(',') }}", "{{ name }}joe0,1,2"),
        ("{{ name.upper }}{{ name.__class__ }}{{ table.keys }}{{ items.append }}|", "|"),
    ],
)  # fmt: skip
def test_what_the_language_can_do(body: str, expected: str) -> None:
    assert filled(body, ORDER) == expected


def test_a_text_without_a_tag_stays_as_it_is() -> None:
    assert answer(page("} plain { a{b}c %} }}\n"), ORDER) is None


def test_lines_stay_lines() -> None:
    assert filled("a\n{{ name }}\n\nb\n") == "a\r\n\r\n\r\nb\r\n"


# Places


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>{{ v }}</p>", "<p>&lt;b&gt;&quot;it&#x27;s&quot; &amp; co</p>"),
        ("<p title={{ v }}>", "<p title=&#60;b&#62;&#34;it&#39;s&#34;&#32;&#38;&#32;co>"),
        ('<a href="https://x.example/?q={{ v }}">', '<a href="https://x.example/?q=%3Cb%3E%22it%27s%22%20%26%20co">'),
        ('<a href="https://x.example/?q={{ v|urlencode }}">', '<a href="https://x.example/?q=%3Cb%3E%22it%27s%22%20%26%20co">'),
        ('<a href="{{ js }}">', '<a href="javascript%3Aalert%281%29">'),
        ('<a href="{% if js %}{{ js|default("x") }}{% endif %}">', '<a href="javascript%3Aalert%281%29">'),
        ('{% if 1 > 0 and v == "a" %}<p title="{% else %}<p lang="{% endif %}{{ v }}">', '<p lang="bitsco">'),
        ("<style>p{color:{{ v }}}</style>", "<style>p{color:bits & co}</style>"),
        ('<script>{"a": "{{ v }}"}</script>', '<script>{"a": "\\u003cb\\u003e\\"it\\u0027s\\" \\u0026 co"}</script>'),
        ("<script>a = {{ v|tojson }}</script>", '<script>a = "\\u003cb\\u003e\\"it\\u0027s\\" \\u0026 co"</script>'),
        ('<p title="{{ v|tojson }}">', '<p title="&quot;\\u003cb\\u003e\\&quot;it\\u0027s\\&quot; \\u0026 co&quot;">'),
        ('<p onclick="f(\'{{ v }}\')"><{{ v }}>', '<p onclick="f(\'bitsco\')"><bitsco>'),
        ("{{ v|safe }}{{ v|escape|escape }}", "<b>\"it's\" & co&lt;b&gt;&quot;it&#x27;s&quot; &amp; co"),
        ("{{ v|safe ~ v }}", "&lt;b&gt;&quot;it&#x27;s&quot; &amp; co" * 2),
        ("{# <script> #}{{ v }}{% raw %}<script>{% endraw %}{{ v }}", "&lt;b&gt;&quot;it&#x27;s&quot; &amp; co<script>" '\\u003cb\\u003e\\"it\\u0027s\\" \\u0026 co'),
        ("<img src={{ no|urlencode }} alt={{ no }}>", "<img src=&#32; alt=&#32;>"),
    ],
)  # fmt: skip
def test_html_places_are_those_of_the_other_dialects(body: str, expected: str) -> None:
    values = {"v": '<b>"it\'s" & co', "js": "javascript:alert(1)"}
    assert filled(body, values, "text/html").strip() == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Subject", "Hi {{ name|default('you') }}{% if vip %}!{% endif %}", "Hi joe!"),
        ("Subject", "=?utf-8?q?=C3=A9_=7B=7B_name_=7D=7D?=", "=?utf-8?b?w6k=?= joe"),
        ("To", '{{ name|default("a, b <c@d>") }} <joe@example.net>, x <y@example.org>', "joe <joe@example.net>, x <y@example.org>"),
        ("To", '{{ no|default("a, b <c@d>") }} <joe@example.net>', '"a, b <c@d>" <joe@example.net>'),
        ("To", '"Mr {{ evil }}" <joe@example.net>', '"Mr a\\", <e@example.org>, \\"b" <joe@example.net>'),
        ("To", "x <{{ evil }}@example.net>", "x <ae@example.orgb@example.net>"),
        ("List-Unsubscribe", "<https://x.example/{{ evil }}>", "<https://x.example/a%22%2C%20%3Ce%40example.org%3E%2C%20%22b>"),
        ("X-Vars", '{"who": "{{ evil }}"}', '{"who": "a\\", \\u003ce@example.org\\u003e, \\"b"}'),
    ],
)  # fmt: skip
def test_header_fields_are_templates_of_their_own(name: str, value: str, expected: str) -> None:
    found = answer(page("x\n", **{name: value}), ORDER | {"evil": 'a", <e@example.org>, "b'})
    assert isinstance(found, Delivery)
    assert found.message.first(name) == expected


def test_names_of_attachments_are_templates() -> None:
    part = b'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="{{ name }}.pdf"\r\n\r\nx\r\n'
    raw = b"MIME-Version: 1.0\r\n" + part
    found = answer(Message.parse(raw), {"name": "a/b"})
    assert isinstance(found, Delivery)
    assert parts(found.message)[0].filename == "a_b.pdf"


# What it refuses


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("a\n{{ canary-7f3a", "line 2: this is no template"),
        ("{% if canary %}", "line 1: this is no template"),
        ("{{ canary|nofilter }}", "line 1: there is no such filter"),
        ("\n\n{{ canary is notest }}", "line 3: there is no such test"),
        ("{{ canary() }}", "line 1: there is no such function"),
        ("{{ name.upper() }}", "line 1: there is no such function"),
        ("{{ items.append(1) }}", "line 1: there is no such function"),
        ("{{ {'canary': 1} }}", "line 1: there is no such expression"),
        ("{{ f(*canary) }}", "line 1: there is no such expression"),
        ("{% macro canary() %}{% endmacro %}", "line 1: there is no such statement"),
        ("{% include 'canary' %}", "line 1: there is no such statement"),
        ("{% import 'canary' as a %}", "line 1: there is no such statement"),
        ("{% extends 'canary' %}", "line 1: there is no such statement"),
        ("{% block canary %}{% endblock %}", "line 1: there is no such statement"),
        ("{% filter upper %}canary{% endfilter %}", "line 1: there is no such statement"),
        ("{% set a %}canary{% endset %}", "line 1: there is no such statement"),
        ("{% for i in items recursive %}{{ loop(i) }}{% endfor %}", "line 1: there is no such statement"),
        ("{% print name %}{{ name }}", "line 1: there is no such statement"),
        ("{% set a, b = items %}", "line 1: only a name can be set"),
        ("{{ items }}", "line 1: a list or an object is no text"),
        ("{{ table ~ 'canary' }}", "line 1: a list or an object is no text"),
        ("{{ name + 1 }}", "line 1: these values do not go together"),
        ("{{ name < 1 }}", "line 1: these values do not go together"),
        ("{{ items * 3 }}", "line 1: these values do not go together"),
        ("{% for a, b, c in table.items() %}{% endfor %}", "line 1: these values do not go together"),
        ("{{ name|truncate('canary') }}", "line 1: these values do not go together"),
        ("{{ name|upper('canary') }}", "line 1: these values do not go together"),
        ("{{ [1, 'canary']|sort }}", "line 1: these values do not go together"),
        ("{{ 1 / 0 }}", "line 1: this divides by zero"),
        ("{{ 10 ** 99 }}", "line 1: a number is too large"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_kind_and_line_and_nothing_is_quoted(body: str, why: str) -> None:
    line = refusal(body + "\n", ORDER)
    assert line.startswith(f"554 5.6.0 a template in the text/plain part, {why}")
    assert "canary" not in line


def test_a_loop_may_take_things_apart_only_as_they_are() -> None:
    body = "{% for a, b in items %}{{ a }}{% endfor %}\n"
    assert "these values do not go together" in refusal(body, {"items": [[1, 2], [CANARY]]})


def test_a_fault_in_a_field_or_an_attachment_says_so() -> None:
    found = answer(page("x\n", Subject="{{ canary"))
    assert isinstance(found, Reject)
    assert found.reply.line.startswith("554 5.6.0 a template in a header field, line 1: ")
    assert "canary" not in found.reply.line


def test_strict_templates_refuse_what_has_no_value() -> None:
    for body in ("{{ x }}", "{% if x %}{% endif %}", "{% for i in x %}{% endfor %}", "{{ x.y }}", "{{ x|upper }}", "{{ x > 1 }}",
                 "{{ name ~ x }}", "{{ table.z }}", "{{ x == 1 and x }}"):  # fmt: skip
        line = refusal(body + "\n", ORDER, on_missing="reject")
        assert line == "554 5.6.0 a merge tag has no value for this recipient", body
    fine = "{{ x|default('d') }}{% if x is defined %}{{ x }}{% endif %}{{ nothing }}"
    assert filled(fine, ORDER, on_missing="reject") == "d"


# What it may cost


HOSTILE = {
    "times": '{{ "a" * 10**9 }}',
    "range": "{% for i in range(10**9) %}x{% endfor %}",
    "doubling": '{% set a = "aaaaaaaaaa" %}' + "{% set a = a ~ a %}" * 60,
    "adding": '{% set a = "aaaaaaaaaa" %}' + "{% set a = a + a %}" * 60,
    "replace": '{{ "a"' + '|replace("a", "aaaaaaaaaa")' * 12 + " }}",
    "replace nothing": '{% set a = "a" * 1000000 %}{{ a|replace("", a) }}',
    "join": '{{ range(9999)|join("a" * 90000) }}',
    "format": '{{ "%s%s%s%s"|format(' + ", ".join(['"a" * 3000000'] * 4) + ") }}",
    "lists": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "lists as JSON": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 30 + "{{ a|tojson }}",
    "lists compared": "{% set a = [1] %}{% set b = [1] %}" + "{% set a = [a, a] %}{% set b = [b, b] %}" * 60 + "{{ a == b }}{{ a in b }}",
    "text in a loop": "{% for i in range(9999) %}" + "x" * 300_000 + "{% endfor %}",
    "loops": "{% for a in range(9999) %}" * 4 + "x" + "{% endfor %}" * 4,
    "loops in vain": "{% for a in range(9999) if 0 %}{% endfor %}" * 50,
    "nested": "{{ " + "(" * 40_000 + "1" + ")" * 40_000 + " }}",
    "nested lists": "{{ " + "[" * 40_000 + "]" * 40_000 + " }}",
    "a long sum": "{{ 1" + " + 1" * 20_000 + " }}",
    "many filters": "{{ 1" + "|abs" * 20_000 + " }}",
    "ifs": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "not": "{{ " + "not " * 20_000 + "1 }}",
    "elif": "{% if 0 %}" + "{% elif 0 %}" * 7000 + "{% endif %}",
    "many tags": "{{ a }}" * 5_000,
    "too many tags": "{{ a }}" * 1_000_000,
    "comments": "{# x #}" * 1_000_000,
    "unclosed": "{{ " * 500_000,
    "unclosed statements": "{% raw %}" * 500_000,
    "quotes": '{{ "' + '\\"' * 500_000,
    "digits": "{{ " + "9" * 50_000 + " }}",
    "power": "{{ 9" + " ** 9" * 1000 + " }}",
    "escapes": '{{ "<" * 9000000 }}',
    "slow escapes": '<p title={{ "<" * 9000000 }}>',
    "compared": '{% set a = "a" * 900000 %}{% set b = "a" * 900000 %}{% for i in range(9999) %}{{ a == b }}{% endfor %}',
    "found": '{% set a = "a" * 900000 %}{% for i in range(9999) %}{{ a ~ "b" in a }}{% endfor %}',
    "kept": "".join(f'{{% set a{n} = "x" * 1000000 %}}' for n in range(2000)),
    "slices": '{% set a = "a" * 900000 %}' + "".join(f"{{% set b{n} = a[1:] %}}" for n in range(2000)),
    "numbers as text": "{% for i in range(9999) %}{{ 10**29 }}{% endfor %}",
    "regular text": "{ {{ }" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_template_takes_long(name: str, kind: str) -> None:
    original = page(HOSTILE[name], kind)
    began = time.process_time()
    answer(original, {"a": "x"})
    assert time.process_time() - began < 3


def test_no_template_takes_much_memory() -> None:
    """In a process that may have 300 MB more than it has when all is loaded."""
    script = f"""
        import json, resource, sys
        sys.path.insert(0, {str(ROOT)!r})
        from tests.plugins.test_merge_tags_templates import answer, page
        hostile = json.load(sys.stdin)
        answer(page("{{{{ 1 }}}}"))
        highest = lambda: int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
        before = highest()
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 300_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for name, text in hostile.items():
            for kind in ("text/plain", "text/html"):
                answer(page(text, kind))
        print(highest() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], input=json.dumps(HOSTILE), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 250_000, "KB of memory in use, at the highest"


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "{%", "%}", "{#", "#}", " a ", "if", "for x in", "endif", "endfor", "else", "set b =", "'", '"', "\\", "|",
             "raw", "endraw", "-", "(", ")", "[", "]", ",", ".", "1", "~", "*", "+", "<p title=", ">", "\n", "upper", "==", "not", "{"]
        ),
        max_size=24,
    )
)  # fmt: skip
def test_whatever_stands_in_a_template_ends_in_a_copy_or_a_refusal(pieces: list[str]) -> None:
    for kind in ("text/plain", "text/html"):
        found = answer(page(" ".join(pieces), kind, Subject="{{ a }}"), {"a": CANARY, "x": [1, {"b": 2}]})
        assert isinstance(found, (Delivery, Reject))
        if isinstance(found, Reject):
            assert found.code == 554
            assert CANARY not in found.reply.line


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_value_is_text_wherever_it_stands(value: str) -> None:
    body = '<p title="{{ v }}">x{{ v }}</p><a href="{{ v }}">y</a><script>a("{{ v }}")</script><i class={{ v }}>z</i>'
    filled_in = filled(body, {"v": value}, "text/html")
    assert (filled_in.count("<"), filled_in.count(">"), filled_in.count("</script")) == (8, 8, 1)
    before, _, rest = filled_in.partition('<script>a("')
    in_script, _, after = rest.partition('")</script>')
    assert json.loads(f'"{in_script}"') == value
    assert (before.count('"'), after.count('"')) == (4, 0)
