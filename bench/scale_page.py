"""The figures of `bench scale` as lines, and its curves as one SVG file."""

from __future__ import annotations

import math
from pathlib import Path

Found = dict[str, float]
BAR = 1.2
RATED = ("plan", "commit", "queue", "resume", "export csv", "export parquet", "status")
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")


def lines_of(found: list[Found]) -> list[str]:
    """Tables of a run; a row of cost is in ms of processor time per clip."""
    first, last = found[0], found[-1]
    head = "| | " + " | ".join(f"{f['n']:,.0f} clips" for f in found)
    rule = "|---|" + "---|" * len(found)
    lines = [
        f"One clip: {first['rows']:.0f} records and {first['tables']:.0f} tables (10 s of the demo footage).",
        "In brackets: against a project of 100 clips, measured at the same moments. Processor time, ms per clip.",
        "",
        f"{head} | at {last['n']:,.0f}, bar 1.2 |",
        f"{rule}---|",
    ]
    for name in RATED:
        cells = [f"{f[name]:.2f} ({f[name] / f[f'{name} small']:.2f} ×)" for f in found]
        met = last[name] <= BAR * last[f"{name} small"]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {'met' if met else 'missed'} |")
    lines.append("| plain sqlite3 + pyarrow | " + " | ".join(f"{f['partner']:.2f}" for f in found) + " | |")
    lines += ["", f"{head} | exponent |", f"{rule}---|"]
    names = [n for n in first if n.startswith("query")]
    for name in (*names, "compare"):
        held = [f for f in found if name in f]
        if not held:
            continue
        whole = [f[name] * (f["n"] if name == "compare" else 1) for f in held]
        power = math.log(whole[-1] / whole[0]) / math.log(held[-1]["n"] / held[0]["n"]) if len(held) > 1 else math.nan
        cells = [f"{w:,.1f}" for w in whole] + ["not run"] * (len(found) - len(held))
        lines.append(
            f"| {name}, ms in all | " + " | ".join(cells) + f" | {'–' if math.isnan(power) else f'{power:.2f}'} |"
        )
    lines += ["", head + " |", rule]
    for name, label, form in (
        ("commit wall", "commit, wall ms per clip", ".1f"),
        ("queue wall", "queue, wall ms per clip", ".1f"),
        ("partner wall", "partner, wall ms per clip", ".1f"),
        ("resume wall", "resume, wall ms per clip", ".2f"),
        ("resume statements", "SQL statements a clip, resume", ".1f"),
        ("queue statements", "SQL statements a clip, queue", ".0f"),
        ("kB", "kB on disk per clip, all of it", ".0f"),
        ("packed kB", "kB of packed tables per clip", ".0f"),
        ("partner kB", "kB of the partner's Parquet files per clip", ".0f"),
        ("files", "files per clip", ".2f"),
        ("resume MB", "memory a resume adds, MB", ".0f"),
        ("plan MB", "memory a plan adds, MB", ".0f"),
    ):
        lines.append(f"| {label} | " + " | ".join(f"{f[name]:{form}}" for f in found) + " |")
    return lines


def plot(found: list[Found], path: Path) -> None:
    """Cost per clip over clips, both logarithmic."""
    width, height, left, top, right, bottom = 720, 400, 60, 20, 150, 50
    xs = [math.log10(f["n"]) for f in found]
    ys = [math.log10(f[name]) for f in found for name in RATED]
    x0, x1, y0, y1 = min(xs), max(*xs, min(xs) + 1), math.floor(min(ys)), math.ceil(max(ys))

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - x0) / (x1 - x0) * (width - left - right)
        return round(across, 1), round(top + (y1 - y) / (y1 - y0) * (height - top - bottom), 1)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        "<title>Cost per clip over the number of clips</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for y in range(y0, y1 + 1):
        (ax, ay), (bx, _) = at(x0, y), at(x1, y)
        out.append(f'<path d="M{ax} {ay}H{bx}" stroke="#dddddd"/>')
        out.append(f'<text x="{ax - 6}" y="{ay + 4}" text-anchor="end">{10.0**y:g}</text>')
    for f, x in zip(found, xs, strict=True):
        ax, ay = at(x, y0)
        out.append(f'<text x="{ax}" y="{ay + 18}" text-anchor="middle">{f["n"]:,.0f}</text>')
    ends = sorted((at(xs[-1], math.log10(found[-1][name]))[1], name) for name in RATED)
    placed = -math.inf
    for y, name in ends:
        colour = COLOURS[RATED.index(name)]
        points = " ".join(f"{a},{b}" for a, b in (at(x, math.log10(f[name])) for x, f in zip(xs, found, strict=True)))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        placed = max(placed + 14, y)
        out.append(f'<text x="{at(x1, y0)[0] + 8}" y="{placed + 4}" fill="{colour}">{name}</text>')
    out.append(f'<text x="{left}" y="{height - 12}">clips in the project; ms of processor time per clip</text>')
    path.write_text("\n".join([*out, "</svg>"]) + "\n")
