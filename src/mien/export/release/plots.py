"""Plots of a card as SVG written by hand: the same figures give the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

WIDTH, LINE, LEFT, BAR = 720, 22, 190, 440
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")


def bars(title: str, unit: str, parts: Mapping[str, Mapping[str, float]]) -> str:
    """Bars per row, stacked by part: `{"train": {"calm": 3, …}, …}`. The figure at the end of a row is its sum."""
    names = list(dict.fromkeys(name for held in parts.values() for name in held))
    sums = {n: sum(held.get(n, 0) for held in parts.values()) for n in names}
    most = max(sums.values(), default=0) or 1
    height = LINE * (len(names) + 3) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for i, name in enumerate(names):
        y = LINE * (i + 1) + 8
        lines.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name[:28])}</text>')
        x = float(LEFT)
        for held, colour in zip(parts.values(), _cycled(len(parts)), strict=True):
            width = BAR * held.get(name, 0) / most
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>')
            x += width
        lines.append(f'<text x="{x + 6:.1f}" y="{y + 13}">{sums[name]:g}</text>')
    y = LINE * (len(names) + 1) + 24
    for i, (part, colour) in enumerate(zip(parts, _cycled(len(parts)), strict=True)):
        x = LEFT + i * 130
        lines.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 18}" y="{y}">{escape(part[:16])}</text>')
    lines.append(f'<text x="10" y="{y}">{escape(unit)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _cycled(n: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(n)]
