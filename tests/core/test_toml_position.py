"""The index of places must name exactly what tomllib finds, whatever the file looks like."""

import tomllib

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.toml_position import positions


def places(value, above=()):
    """Every place in parsed TOML: tables, keys and elements."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, inner in items:
        yield (*above, part)
        yield from places(inner, (*above, part))


KITCHEN = '''\
a = 1
"b.c" = """
x [y] # no comment
""""
'l"t' . m = 1979-05-27 07:32:00.5   # a date with a blank
[t.u] # comment = [ 1
k.l = [1, # [
  { a = 1, "q\\u0041" = [2,
  3] }, "]", \'\'\'
  ''\'\'\',
]
[[x]]
f = -1.5e3
[x.y]
z = 1
[[x.w]]
[[x]]
[[x.w]]
q = """
a\\"""b"""""
[x.w.v]
'''


def test_every_kind_of_statement():
    lines = positions(KITCHEN)
    assert set(lines) == set(places(tomllib.loads(KITCHEN)))
    for path, line in {
        ("a",): 1,
        ("b.c",): 2,
        ('l"t', "m"): 5,
        ("t", "u"): 6,
        ("t", "u", "k", "l", 1, "qA", 1): 9,
        ("t", "u", "k", "l", 3): 9,
        ("x", 0, "f"): 13,
        ("x", 0, "y", "z"): 15,
        ("x", 1): 17,
        ("x", 1, "w", 0): 18,
        ("x", 1, "w", 0, "q"): 19,
        ("x", 1, "w", 0, "v"): 21,
    }.items():
        assert lines[path] == line, path


def test_line_ends_of_windows():
    assert positions("a = 1\r\n[b]\r\nc = '''\r\n'''\r\nd = 2\r\n")[("b", "d")] == 5


def test_a_long_array_is_read_once():
    text = "a = [\n" + '"x",\n' * 50_000 + "]\nb = 1\n"
    assert positions(text)[("b",)] == 50_003


keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6)
values = st.recursive(
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_it_names_what_tomllib_finds_in_any_document(data):
    text = tomlkit.dumps(data)
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # tomlkit writes some control characters as they are
        return
    assert set(positions(text)) == set(places(parsed))


STATEMENTS = st.sampled_from(
    ["[a]\n", "[[b]]\n", "[b.c]\n", "[[b.d]]\n", "[a.'x y']\n", "k = 1\n", "k.l = 'm'\n", "# [c]\n", "\n",
     "s = '''\n[x]\n'''\n", 't = """\\\n  "" \\""" ]\n"""\n', "u = [ [1, 2], [\n], ]\n", "v = {a = {}, b.c = [{}]}\n",
     "w = 1e-5 # x = 2\n", "'' = inf\n", '"" = 07:32:00\r\n']
)  # fmt: skip


@given(st.lists(STATEMENTS, max_size=12).map("".join))
def test_it_names_what_tomllib_finds_among_any_statements(text):
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = positions(text)
    assert set(lines) == set(places(parsed))
    assert all(1 <= line <= text.count("\n") for line in lines.values())
