"""Exports for other tools: long tables as CSV or Parquet, captions (WebVTT), vocal segments (RTTM), detections (COCO).

What may enter: one small file per format over the same scoped rows; people's labels, which belong to media. Nothing
leaves that the gate withholds (`gate.py`), no pixels leave at all, and the same project gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core import VERSION, MienError
from mien.export.selection.folder import MANIFEST, File, seal, staging, write_text
from mien.export.selection.gate import Withheld
from mien.export.selection.scope import Progress, Scope, scope_of, unwatched
from mien.export.tables.schema import SCHEMA_VERSION
from mien.pipeline import Project
from mien.pipeline.registering import left

FORMATS: dict[str, str] = {
    "csv": "long tables, one file each",
    "parquet": "the same tables with units in their metadata",
    "webvtt": "claims and sounds as captions, one file per recording",
    "rttm": "vocal segments, speech and non-speech",
    "coco": "detections of people, faces and objects; frames as references",
}
NOTICE = "NOTICE.txt"


@dataclass(frozen=True, slots=True)
class Written:
    """What an export wrote, what stayed behind, and what a person should know."""

    format: str
    out: Path
    files: tuple[File, ...]
    withheld: tuple[Withheld, ...]
    warnings: tuple[str, ...]


def export_tables(
    project: Project, format_: str, out: Path | None = None, *, force: bool = False, progress: Progress = unwatched
) -> Written:
    """Write one format into a folder (default `exports/FORMAT` in the project), whole or not at all.

    Raises:
        MienError: `input.unknown-format`, `export.exists`, `export.nothing`, `export.all-withheld`,
            `export.not-writable`, `store.array-damaged`.
    """
    from mien.export.tables.notice import models_of, notice, warnings

    if format_ not in FORMATS:
        raise MienError("input.unknown-format", f"there is no format {format_!r}", f"formats: {', '.join(FORMATS)}")
    if out is None:
        if project.root is None:
            raise MienError("input.no-folder", "a project in memory has no folder to export to", "name one")
        out = project.root / "exports" / format_
    scope = scope_of(project, progress)
    models = models_of(scope)
    with staging(out, force=force) as draft:
        rows = _writer(format_)(scope, draft, models)
        write_text(draft / NOTICE, [notice(scope, models)])
        files = seal(draft, _about(format_, scope), rows)
    left(project, "export", out, [s.sha256 for s in scope.sources.values()], out / MANIFEST)
    return Written(format_, out, files, scope.withheld, tuple(warnings(scope, models)))


def _writer(format_: str) -> Callable[[Scope, Path, list[Any]], dict[str, int]]:
    from mien.export.tables import coco, delimited, parquet, rttm, webvtt

    return {
        "csv": delimited.write,
        "parquet": parquet.write,
        "webvtt": lambda scope, folder, _: webvtt.write(scope, folder),
        "rttm": lambda scope, folder, _: rttm.write(scope, folder),
        "coco": lambda scope, folder, _: coco.write(scope, folder),
    }[format_]


def _about(format_: str, scope: Scope) -> dict[str, Any]:
    return {
        "format": format_,
        "schema_version": SCHEMA_VERSION,
        "mien": VERSION,
        "context": scope.project.config.context,
        "sources": [{"name": name, "sha256": s.sha256} for name, s in scope.sources.items()],
        "withheld": [{"what": w.what, "code": w.code, "reason": w.reason} for w in scope.withheld],
    }


__all__ = ["FORMATS", "File", "Withheld", "Written", "export_tables"]
