"""The pure parts of the benchmarks: rows, medians, ratios, tables, the picture, the page. Nothing is measured here."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from contrib.bench import latency, page, plot, table
from contrib.bench.contest import Standings
from contrib.bench.process import BenchError
from contrib.bench.rows import LIMIT, ROWS, chosen
from contrib.bench.sink import count
from contrib.bench.source import message, personalised
from contrib.bench.trial import Load, Measured
from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
BLOCKS = ("throughput", "latency", "held", "merge", "plugins", "large")


def standings(**rates: tuple[float, ...]) -> Standings:
    """What became of some rows, each with the rates of its rounds."""
    rows = [row for row in ROWS if row.key in rates]
    found = Standings(Load(20), rows)
    for key, values in rates.items():
        found.rows[key].trouble = ""
        found.rows[key].runs = [Measured(100, rate, 250.0, 50_000_000) for rate in values]
    return found


def test_rows_have_names_of_their_own_and_are_compared_with_one_of_mtaframe() -> None:
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len({row.title for row in ROWS}) == len(keys)
    assert {row.against for row in ROWS} - {""} <= {key for key in keys if key.startswith("mtaframe")}
    assert [row.key for row in ROWS if not row.against] == [LIMIT, "mtaframe", "mtaframe-dkim", "mtaframe-all"]


def test_rows_that_sign_are_compared_with_the_one_that_signs() -> None:
    for row in ROWS:
        if row.against:
            assert ("DKIM" in row.title) == (row.against == "mtaframe-dkim"), row.key


def test_rows_are_chosen_by_name_in_the_order_of_the_table() -> None:
    assert [row.key for row in chosen("mtaframe, direct")] == ["direct", "mtaframe"]
    assert [row.key for row in chosen("", ("mtaframe",))] == ["mtaframe"]
    assert chosen("") == list(ROWS)
    with pytest.raises(BenchError, match='no row "sendmail": take of direct, '):
        chosen("sendmail")


def test_the_table_has_medians_and_ratios() -> None:
    found = standings(direct=(9_000, 11_000, 10_000), mtaframe=(4_000, 1_000, 5_000), haraka=(500,))
    lines = table.throughput(found).splitlines()
    assert lines[2] == f"| {ROWS[0].title} | 10,000 | 9,000 to 11,000 | 100% | – | 250 | 48 | no |"
    assert "| 4,000 | 1,000 to 5,000 | 40% | – | 250 |" in lines[3]
    assert "| 500 | 500 to 500 | 5% | 8.0 × |" in lines[4]


def test_what_could_not_be_measured_is_said_below_the_table() -> None:
    found = standings(direct=(9_000,), haraka=())
    found.rows["haraka"].trouble = "npm is missing"
    text = table.throughput(found)
    assert text.endswith("Not measured, or not in all rounds:\n\n- Haraka: smtp_forward: npm is missing")
    assert standings(haraka=(1,)).of_limit(found.rows["haraka"]) == 0


@pytest.mark.parametrize(
    ("value", "text"), [(0, "–"), (1.25, "1.2"), (12.4, "12"), (123.4, "123"), (1234, "1,230"), (12_345, "12,300")]
)
def test_numbers_have_as_many_digits_as_mean_something(value: float, text: str) -> None:
    assert table.number(value) == text


def test_sizes_have_units() -> None:
    assert [table.octets(size) for size in (1024, 10_240, 10_485_760)] == ["1 KB", "10 KB", "10 MB"]


def test_latency_is_told_as_what_is_added_to_the_direct_way() -> None:
    direct, relay = (latency.Times(row) for row in ROWS[:2])
    direct.whole = direct.dot = [0.001] * 100
    relay.whole = relay.dot = [0.003] * 98 + [0.011] * 2
    assert latency.quantiles(relay.whole) == (0.003, 0.011)
    lines = latency.table([direct, relay]).splitlines()
    assert lines[3].startswith(f"| {ROWS[1].title} | 3.00 | 11.00 | 2.00 | 10.00 |")


def test_the_picture_is_a_picture() -> None:
    root = ElementTree.fromstring(plot.bars([("20 sessions", [("a & b", 10.0, True), ("c", 5.0, False)])]))
    widths = [int(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[0] == 2 * widths[1] > 0


def test_a_block_of_the_page_is_replaced_and_no_other() -> None:
    text = "a\n<!-- measured: one -->\nold\n<!-- end -->\n<!-- measured: two -->\nkept\n<!-- end -->\n"
    assert page.replaced(text, "one", r"new \1") == text.replace("old", r"new \1")
    with pytest.raises(BenchError, match='no block "three"'):
        page.replaced(text, "three", "new")


def test_every_benchmark_has_its_target_and_its_block() -> None:
    text = page.PAGE.read_text()
    assert re.findall(r"<!-- measured: (\w+) -->", text) == list(BLOCKS)
    targets = re.findall(r"(?m)^(bench[\w-]*):", MAKEFILE)
    assert targets == ["bench", *(f"bench-{name}" for name in BLOCKS[1:])]
    assert [target for target in targets if f"make {target} " not in text] == []


def test_messages_have_the_size_that_was_asked_for() -> None:
    assert len(message(10_240).partition(b"\r\n\r\n")[2]) == 10_240
    head, _, body = personalised(10_240).partition(b"\r\n\r\n")
    assert b"\r\nX-Merge-Vars: {" in head
    assert b"[NAME]" in body


@pytest.mark.parametrize(
    ("written", "messages"),
    [
        (b"", 0),
        (b"sess=1 quit=0 mesg=1", 0),
        (b"mesg=6\rsess=1 quit=0 mesg=7\r", 7),
        (b"t=1 mesg=12\rsess=1 mesg=1", 12),
    ],
)
def test_the_sinks_counter_is_read_only_where_it_is_whole(written: bytes, messages: int) -> None:
    assert count(written) == messages
