"""The ledger engine on real footage: every hard check passes, cited rows move the posterior and placebo rows do not."""

import pytest

import mien
from mien.core import Claim, Trace
from mien.evaluate.audit import audit_project, ledger_of
from mien.policy import forbidden_words
from mien.reason import audit
from mien.testing.planter import GROSS, Subject, plant

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def test_claims_about_real_people_are_auditable_and_planted_errors_are_found(shared_data):
    folder = shared_data / "video_faces"
    if not folder.is_dir():
        pytest.skip("needs shared/data/video_faces beside the checkout")
    with mien.analyse(folder / "face_noface.mov", folder / "short_hamilton_clip.mp4") as found:
        store = found.project.store
        audits = [a.audit for a in audit_project(store)]
        assert len(audits) >= 2
        assert [a.findings for a in audits if not a.auditable] == []
        moved = [a.moved for a in audits if a.moved]
        assert moved
        for m in moved:
            assert m.comprehensiveness > 0.05
            assert not abs(m.placebo) > 0.2 * m.comprehensiveness
        planted = 0
        for n, trace in enumerate(store.all(Trace)):
            (clip,) = [c.clip for c in found.clips if c.id == trace.clip_id]
            ledger, claims = ledger_of(store, clip, trace), store.all(Claim, "trace_id = ?", (trace.id,))
            subject = Subject(trace, tuple(claims), ledger.tracks, ledger.observations, ledger.assessments)
            for error in GROSS:
                made = plant(error, subject, n)
                if made is not None:
                    planted += 1
                    assert not audit(ledger, *made, forbidden=forbidden_words).auditable, (error, trace.id)
        assert planted >= 8
