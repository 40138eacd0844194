"""Bars as an SVG picture. Pure."""

from collections.abc import Sequence
from html import escape

_BAR, _GAP, _LEFT, _WIDTH, _RIGHT = 18, 6, 310, 400, 90
_STYLE = (
    "text{font:13px sans-serif;fill:#444}.head{font-weight:bold}"
    ".own{fill:#2a6fb0}.other{fill:#9aa5b1}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)


def bars(groups: Sequence[tuple[str, Sequence[tuple[str, float, bool]]]]) -> str:
    """Groups of (label, value, whether it is ours), one scale for all; the picture's text."""
    most = max((value for _, lines in groups for _, value, _ in lines), default=0) or 1
    parts, y = [], 4
    for head, lines in groups:
        y += 18
        parts.append(f'<text class="head" x="4" y="{y}">{escape(head)}</text>')
        y += 8
        for label, value, own in lines:
            width = max(1, round(_WIDTH * value / most))
            kind = "own" if own else "other"
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>')
            parts.append(f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}"/>')
            parts.append(f'<text x="{_LEFT + width + 6}" y="{y + 14}">{value:,.0f}</text>')
            y += _BAR + _GAP
    height, width = y + 4, _LEFT + _WIDTH + _RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )
