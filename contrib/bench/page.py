"""What a benchmark writes into docs/benchmarks.md, between ``<!-- measured: NAME -->`` and ``<!-- end -->``."""

import re

from contrib.bench.process import ROOT, BenchError

PAGE = ROOT / "docs" / "benchmarks.md"


def replaced(text: str, name: str, content: str) -> str:
    """The page with this block's new content. BenchError if the page has no such block."""
    block = re.compile(rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(text):
        raise BenchError(f'{PAGE.name} has no block "{name}": put <!-- measured: {name} --> and <!-- end --> there')
    return block.sub(lambda found: f"{found[1]}{content.strip()}\n{found[2]}", text)


def write(name: str, content: str, picture: str = "") -> None:
    """Put it into the page; the picture becomes a file beside it, shown on top of the block."""
    if picture:
        file = PAGE.with_name(f"benchmarks-{name}.svg")
        file.write_text(picture)
        content = f"![messages per second]({file.name})\n\n{content}"
    PAGE.write_text(replaced(PAGE.read_text(), name, content))
