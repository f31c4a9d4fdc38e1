"""Where figures go: one section per benchmark in RESULTS.md, the newest run replaces the older one."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def machine() -> str:
    """Processor, cores and Python, without the machine's name."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = found.group(1).strip() if found else ""
    processor = model or platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


def record(name: str, command: str, lines: list[str], path: Path = RESULTS) -> None:
    """Print the lines and put them into RESULTS.md under `## name`."""
    print("\n".join(lines))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    section = f"## {name}\n\n{today} · {machine()} · `{command}`\n\n" + "\n".join(lines).strip() + "\n"
    text = (
        path.read_text()
        if path.exists()
        else "# Measured figures\n\nEach section is written by the command it names.\n"
    )
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.S | re.M)
    text = pattern.sub(lambda _: section + "\n", text) if pattern.search(text) else text.rstrip() + "\n\n" + section
    path.write_text(text.rstrip() + "\n")
