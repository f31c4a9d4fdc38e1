"""Looking at records (`show`) and at the machine (`doctor`)."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.cli.talk import plain, say
from mien.core import VERSION, Assessment, Claim, Clip, MienError, Observation, Trace, clock
from mien.pipeline import Project, Stack


def explain(project: Project, record_id: str, why: bool) -> dict[str, Any]:
    """One record as plain values; with `why`, what it stands on. Raises MienError `show.unknown`."""
    store = project.store
    found = store.find(record_id)
    if found is None:
        raise MienError(
            "show.unknown",
            f"no record, or more than one, has the id {record_id!r}",
            'ids: mien query "SELECT id, text FROM claims"',
        )
    table, record = found
    out: dict[str, Any] = {"table": table, "record": plain(record)}
    if not why:
        return out
    if isinstance(record, Claim):
        out["evidence"] = [plain(o) for o in _observations(project, record.evidence_ids)]
        trace = store.find(record.trace_id)
        out["trace"] = plain(trace[1]) if trace else None
        out["assessments"] = [
            plain(a)
            for a in store.all(Assessment, "clip_id = ?", (trace[1].clip_id,) if trace else ("",))
            if a.track_id == record.track_id and a.span.overlap_us(record.span)
        ]
        if trace:
            out |= _weighed(project, record, trace[1])
    elif isinstance(record, Assessment):
        ids = [i for c in record.contributions for i in c.evidence_ids]
        out["evidence"] = [plain(o) for o in _observations(project, ids)]
    elif isinstance(record, Trace):
        out["claims"] = [plain(c) for c in store.all(Claim, "trace_id = ?", (record.id,))]
    fingerprint = getattr(record, "adapter", None)
    labels = {fingerprint} if fingerprint else {o["adapter"] for o in out.get("evidence", [])}
    out["models"] = _models(project, labels)
    return out


def _weighed(project: Project, claim: Claim, trace: Trace) -> dict[str, Any]:
    """What the ledger says of a claim, which rows speak against it, and what was not looked at."""
    from mien.evaluate.audit import ledger_of
    from mien.reason import check, index, opposing, predicate_of

    (clip,) = project.store.all(Clip, "id = ?", (trace.clip_id,))
    ledger = ledger_of(project.store, clip, trace)
    predicate = predicate_of(claim)
    if predicate is None:
        return {"checked": {"found": "not checkable", "why": "its predicate is outside the grammar"}}
    found = check(predicate, index(ledger))
    against = [
        {
            "source": c.source,
            "log_odds": odds,
            "cited": bool(set(c.evidence_ids) & set(claim.evidence_ids)),
            "rows": ids,
        }
        for c, odds, ids in opposing(predicate, ledger)
    ]
    return {
        "checked": {"found": found.found, "tolerances_off": found.off, "why": found.why},
        "against": against,
        "gaps": list(ledger.missing),
    }


def _observations(project: Project, ids: Any) -> list[Observation]:
    wanted = list(dict.fromkeys(ids))
    marks = ",".join("?" * len(wanted))
    return project.store.all(Observation, f"id IN ({marks})", wanted) if wanted else []


def _models(project: Project, labels: set[str]) -> list[dict[str, Any]]:
    """Models that the labels name: a rule's label holds those of the models it reads, a pool's those it pooled."""
    stack = Stack(project.config)
    specs = {str(stack.fingerprint(slot)): stack.spec(slot) for slot in stack.slots()}
    out: list[dict[str, Any]] = []
    for held in project.store.adapters():
        if any(held["fingerprint"] in label for label in labels):
            spec = specs.get(held["fingerprint"])
            licences = plain(spec.weights.licences) if spec and spec.weights else None
            measured = [plain(m) for m in spec.measured] if spec else []
            out.append({**held, "licences": licences, "measured": measured})
    return sorted(out, key=lambda row: row["fingerprint"])


def tell(found: dict[str, Any]) -> None:
    """Print what `explain` found for people."""
    record = found["record"]
    print(f"{found['table'][:-1]} {record.get('id') or record.get('sha256')}")
    _fields(record, "  ")
    if "checked" in found:
        _told(found)
    for title in ("trace", "assessments", "evidence", "claims", "models"):
        held = found.get(title)
        for row in held if isinstance(held, list) else [held] if held else []:
            print(f"\n  {title.rstrip('s')} {row.get('id') or row.get('name', '')}")
            _fields(row, "    ")


def _told(found: dict[str, Any]) -> None:
    """Claim against evidence: what the ledger says of it, what speaks against it, what is not known."""
    held = found["checked"]
    print(f"  the ledger says: {held['found']}" + (f" ({held['why']})" if held["why"] else ""))
    for row in found.get("against", ()):
        cited = "cited" if row["cited"] else "NOT cited"
        print(f"  against it: {row['source']}, log-odds {row['log_odds']:+.2f} ({cited}): {', '.join(row['rows'])}")
    for gap in found.get("gaps", ()):
        print(f"  not known: {gap}")


def _fields(record: dict[str, Any], indent: str) -> None:
    for key, value in record.items():
        if value in (None, "", []) or key == "id":
            continue
        if key == "contributions":
            for c in value:
                print(f"{indent}{c['source']} (λ {c['weight']:.2f}{', ' + c['note'] if c['note'] else ''})")
                _fields({"dist": c["dist"], "log_odds": c["log_odds"]}, indent + "  ")
        else:
            print(f"{indent}{key}: {_words(key, value)}")


def _words(key: str, value: Any) -> str:
    if isinstance(value, dict) and "start_us" in value:
        return f"{clock(value['start_us'])}-{clock(value['end_us'])}"
    if key in ("dist", "prior", "posterior", "log_odds"):
        return ", ".join(f"{k} {p:.3f}" for k, p in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)


def checkup(folder: Path, repair: bool) -> list[dict[str, Any]]:
    """What `mien doctor` says: one row per check, with what to do."""
    from mien.models.weights import cache_dir, expand, present, select

    rows: list[dict[str, Any]] = []

    def add(check: str, state: str, hint: str = "", bad: bool = False) -> None:
        rows.append({"check": check, "state": state, "hint": hint, "bad": bad})

    version = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info < (3, 14)
    add(f"mien {VERSION}, Python", version, "" if supported else "use Python 3.11-3.13", not supported)
    for package in ("av", "cv2", "onnxruntime", "ctranslate2", "pyarrow", "scenedetect"):
        try:
            module = __import__(package)
            add(package, str(getattr(module, "__version__", "present")))
        except ImportError as error:
            add(package, f"does not import: {error}", "pip install --force-reinstall mien", True)
    _accelerators(add)
    wanted = expand(["default"], _adapters(folder))
    absent = [e.model for e in select(wanted) if not present(e.weights)]
    add(
        "weights of the stack",
        f"{len(absent)} missing" if absent else "all present",
        f"mien models pull {' '.join(absent)}" if absent else "",
        bool(absent),
    )
    cache = cache_dir()
    free = shutil.disk_usage(cache if cache.exists() else Path.home()).free / 1e9
    add("free disk at the cache", f"{free:.1f} GB", "free some space" if free < 1 else "", free < 1)
    try:
        project = Project.open(folder)
    except MienError as error:
        add("project", error.code, error.hint, error.code != "project.not-found")
        return rows
    wrong = project.store.integrity()
    if wrong and repair:
        project.repair()
        wrong = project.store.integrity()
        say("damaged results were forgotten; make them again with: mien run")
    add("project record", "; ".join(wrong) or "sound", "mien doctor --repair" if wrong else "", bool(wrong))
    broken = project.store.verify_log()
    add(
        "log of the project", "; ".join(broken) or "verifies", "ask who changed mien.db" if broken else "", bool(broken)
    )
    lost = [s for s in project.status()["sources"] if not Path(_path(project, s["sha256"])).exists()]
    add("sources", f"{len(lost)} moved" if lost else "in place", "mien run NEW-PATH" if lost else "", False)
    return rows


def _adapters(folder: Path) -> list[str]:
    """What the project's stack runs; without a project, the default stack."""
    from mien.cli.models import default_adapters

    try:
        project = Project.open(folder)
    except MienError:
        return default_adapters()
    try:
        stack = Stack(project.config)
        return [stack.spec(slot).name for slot in stack.slots()]
    except MienError:
        return default_adapters()
    finally:
        project.close()


def _accelerators(add: Callable[..., None]) -> None:
    """What could run on a graphics card: nothing is wrong without one, but two onnxruntimes overwrite each other."""
    from importlib import metadata

    held: dict[str, str] = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            held[name] = metadata.version(name)
    both = len(held) == 2
    add(
        "onnxruntime packages",
        " and ".join(f"{name} {version}" for name, version in held.items()) or "none",
        "they overwrite each other: pip uninstall -y onnxruntime onnxruntime-gpu, then install one: "
        "onnxruntime, or onnxruntime-gpu for CUDA"
        if both
        else "",
        both or not held,
    )
    with contextlib.suppress(ImportError):  # said above
        import onnxruntime

        found = [p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()]
        cuda = "" if "CUDA" in found else "for CUDA: pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
        add("onnxruntime runs on", ", ".join(found), cuda)
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        add("torch", "not installed", "some models need it: pip install 'mien[torch]'")
        return
    from mien.models.torchnet import cuda_devices

    cards = cuda_devices()
    add("torch", f"{version}, {', '.join(cards) or 'no CUDA device'}")


def _path(project: Project, sha: str) -> str:
    from mien.core import Source

    return project.store.all(Source, "sha256 = ?", (sha,))[0].path
