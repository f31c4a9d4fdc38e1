"""Canaries through the real exporter: what must not leave leaves in no format, whatever the use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from planted import FACE_MODEL, SOUND, VIDEO, project

from mien.core import Assignment, Attribute, Consent, Item, MienError, Source, Span, Track
from mien.export.selection.redaction import redactions_of
from mien.export.selection.scope import scope_of
from mien.export.tables import export_tables
from mien.pipeline import Project
from mien.store import Store

USES = ("view", "train", "share", "publish")
AT = datetime(2026, 6, 1, tzinfo=UTC)
FREE = {"licence": "CC-BY-4.0", "consent": "analyse, train, export, publish"}


def left(planted: Project, use: str, target: str = "understanding", **more) -> set[str]:
    """Sources that may leave for a use."""
    try:
        return set(scope_of(planted, use=use, target=target, at=AT, **more).sources)  # type: ignore
    except MienError as error:
        if error.code != "export.all-withheld":
            raise
        return set()


def codes(planted: Project, use: str, target: str = "understanding") -> set[str]:
    try:
        return {w.code for w in scope_of(planted, use=use, target=target, at=AT).withheld}  # type: ignore
    except MienError as error:
        return {error.code}


def add(planted: Project, *records, unit: str = "people") -> None:
    with Store(planted.root, write=True) as store:
        store.put(records, unit=unit, stage="enrol")


def consent(scopes: str, subject: str = "P-07", when: str = "2026-01-01", **more) -> Consent:
    return Consent(f"c-{subject}-{when}", subject, tuple(scopes.split()), when, more.pop("ends", None), "A", **more)


@pytest.mark.parametrize(
    ("what", "planting"),
    [
        ("explicit", {"explicit": 0.9}), ("explicit, apparent minor", {"explicit": 0.9, "age": 20.0}),
        ("not looked at", {"explicit": None}), ("refused", {"source": FREE | {"consent": "no"}}),
        ("care", {"source": FREE | {"context": "care"}}),
    ],
)  # fmt: skip
def test_a_canary_leaves_for_no_use(tmp_path, what, planting):
    for context, targets in (("studio", ("understanding", "generation")), ("research", ("understanding",))):
        planted = project(tmp_path / context / "p", context, **({"source": FREE} | planting))
        for use in USES:
            for target in targets:
                assert "talk, one.mp4" not in left(planted, use, target), (what, use, target)
        export_tables(planted, "csv", tmp_path / context / "out")
        text = "".join(f.read_text() for f in (tmp_path / context / "out").glob("*.csv"))
        assert "happiness" not in text
        assert VIDEO not in text
        planted.close()


def test_a_possible_minor_is_nothing_for_models_that_make_pictures(tmp_path):
    planted = project(tmp_path / "p", "studio", source=FREE, age=19.0)
    assert "talk, one.mp4" in left(planted, "train")
    assert "talk, one.mp4" not in left(planted, "train", "generation")
    assert "gate.minor" in codes(planted, "train", "generation")
    planted.close()


def test_what_is_free_is_published_and_silence_is_not(tmp_path):
    planted = project(tmp_path / "a", source=FREE)
    assert left(planted, "publish") == {"talk, one.mp4"}  # nobody said anything of the sound
    assert scope_of(planted, use="publish", at=AT).permission.conditions("publish") == ("attribution",)
    planted.close()
    for name, fields in (("b", {"licence": "CC-BY-4.0"}), ("c", {"consent": FREE["consent"]})):
        planted = project(tmp_path / name, source=fields)
        assert left(planted, "publish") == set()
        assert left(planted, "share") == {"talk, one.mp4", "=cmd.wav"}
        planted.close()


def test_a_record_of_consent_decides_by_use_and_time(tmp_path):
    planted = project(tmp_path / "p", source={"licence": "CC-BY-4.0"}, subject="P-07")
    add(planted, consent("analyse export"))
    assert len(scope_of(planted, at=AT).withheld) == 0
    faces = [t for rows in scope_of(planted, at=AT).clips() for t in rows.tracks if t.kind == "face"]
    assert len(faces) == 2
    training = [rows for rows in scope_of(planted, use="train", at=AT).clips() if rows.part.source.sha256 == VIDEO]
    assert not [t for rows in training for t in rows.tracks if t.kind == "face"]
    assert all(rows.hidden for rows in training)
    assert "talk, one.mp4" not in left(planted, "publish")
    add(planted, consent("", when="2026-05-31"))  # withdrawn
    assert not [t for rows in scope_of(planted, at=AT).clips() for t in rows.tracks if t.kind == "face"]
    planted.close()


def test_who_was_assigned_afterwards_is_asked(tmp_path):
    planted = project(tmp_path / "p", source=FREE)
    whole = Span(0, 8_000_000)
    add(planted, consent("analyse"), Assignment("s", "P-07", VIDEO, whole, "session", None, "A", "2026-02-01"))
    assert "consent.no-export" in codes(planted, "share")
    assert "talk, one.mp4" not in left(planted, "share")
    assert "talk, one.mp4" in left(planted, "view")
    planted.close()


def test_a_file_that_forbids_mining_is_seen_and_no_more(tmp_path):
    planted = project(tmp_path / "p", source=FREE)
    with Store(planted.root, write=True) as store:
        item = Item(f"item-{VIDEO[0]}", "/media/talk, one.mp4", (VIDEO,))
        store.put([item, Attribute(item.id, "mining.ai_training", "text", "notAllowed")], unit=VIDEO, stage="input")
    assert {use for use in USES if "talk, one.mp4" in left(planted, use)} == {"view"}
    assert "mining.not-allowed" in codes(planted, "share")
    planted.close()


def test_licences_withhold_one_recording_or_part_the_release(tmp_path):
    planted = project(tmp_path / "p", source=FREE | {"licence": "CC-BY-ND-4.0"})
    assert "licence.no-derivatives" in codes(planted, "share")
    assert "talk, one.mp4" in left(planted, "train")
    planted.close()
    planted = project(tmp_path / "q", source=FREE | {"licence": "CC-BY-SA-4.0"})
    with Store(planted.root, write=True) as store:
        sound = replace(
            store.all(Source, "sha256 = ?", (SOUND,))[0], licence="GPL-3.0-only", consent=FREE["consent"]
        )  # fmt: skip
        store.put([sound], unit=SOUND, stage="clips")
    with pytest.raises(MienError, match=r"licence\.mixed"):
        scope_of(planted, use="publish", at=AT)
    parts = scope_of(planted, use="publish", at=AT, split=True).groups()
    assert [sorted(p.sources) for p in parts] == [["talk, one.mp4"], ["=cmd.wav"]]
    assert all(p.permission.allows("publish") for p in parts)
    planted.close()


def test_answers_of_a_model_whose_terms_are_unknown_stay_behind_when_published(tmp_path):
    planted = project(tmp_path / "p", source=FREE)
    with Store(planted.root, write=True) as store:
        store.put_adapter(FACE_MODEL, "expression.nobody-knows", "expression", "4dd0e231" * 8, "{}")
    public, shared = scope_of(planted, use="publish", at=AT), scope_of(planted, at=AT)
    assert [(w.what, w.code) for w in public.withheld if "nobody" in w.what] == [
        ("expression.nobody-knows", "licence.unknown")
    ]  # fmt: skip
    targets = [{o.target for rows in s.clips() for o in rows.observations} for s in (public, shared)]
    assert "expression" not in targets[0]
    assert "expression" in targets[1]
    assert not any(rows.assessments or rows.signals for rows in public.clips())  # pooled from those answers
    planted.close()


# ---------------------------------------------------------------- what is covered


def test_who_refuses_is_covered_wherever_they_are_and_others_by_the_setting(tmp_path):
    planted = project(tmp_path / "p", source={"licence": "CC-BY-4.0"}, subject="P-07")
    add(planted, consent("analyse"))
    scope = scope_of(planted, at=AT)
    rows = next(r for r in scope.clips() if r.part.source.sha256 == VIDEO)
    assert rows.hidden
    (face,) = [r for r in redactions_of(scope, rows) if r.kind == "face"]
    assert face.span == rows.part.clip.span  # the last analysed frame has no detection of them
    box = np.array(face.at(3_900_000))
    assert (box[:2] < [0.25, 0.25]).all()
    assert (box[2:] > [0.99, 0.75]).all()
    planted.close()


def test_somebody_of_whom_nothing_is_known_beside_one_who_agreed(tmp_path):
    planted = project(tmp_path / "p", subject="P-07")
    add(planted, consent("analyse export train"))
    clip_ids = {r.part.clip.id for r in scope_of(planted, at=AT).clips() if r.part.source.sha256 == VIDEO}
    for clip_id in clip_ids:
        other = Track(f"other-{clip_id}", clip_id, "face", "face", Span(0, 1_000_000), (0.7, 0.1, 0.9, 0.3), 3)
        with Store(planted.root, write=True) as store:
            store.put([other], unit=clip_id, stage="planted")
    scope = scope_of(planted, at=AT)
    regions = [redactions_of(scope, r) for r in scope.clips() if r.part.source.sha256 == VIDEO]
    assert all([(r.kind, r.reason) for r in found] == [("picture", "consent.not-stated")] for found in regions)
    planted.close()


def test_the_overview_says_what_is_permitted_and_why_not_more(tmp_path):
    from mien.export.selection.overview import permits_of

    planted = project(tmp_path / "p", source=FREE | {"licence": "CC-BY-ND-4.0"})
    video, model = (p for p in permits_of(planted, at=AT) if p.what in ("talk, one.mp4", "expression.minixception"))
    assert video.uses == ("view", "train")
    assert set(video.closed) == {"share", "publish"}
    assert all(reason.startswith("licence.no-derivatives: ") for held in video.closed.values() for reason in held)
    assert model.uses == USES
    assert any(note.startswith("licence.training-data: ") for note in model.notes)
    (video,) = (p for p in permits_of(planted, "generation", AT) if p.what == "talk, one.mp4")
    assert video.uses == ("view", "train")
    planted.close()
