"""Labels of states against what each source said alone: whose they are, which count, and which do not."""

from mien.core import Assessment, Contribution, Span
from mien.export.selection.labelled import Label, Place, labels_of, put_labels
from mien.export.tables.confirmed import confirmed, said_alone
from tests.unit.export.planted import FACE_BOX, VIDEO, project

NOW = "2026-01-02T00:00:00.000+00:00"


def say(at, *labels):
    put_labels(
        at, labels_of(at.store), [Label(Place(VIDEO, Span(*s), FACE_BOX), t, v, "C1", NOW) for s, t, v in labels]
    )


def test_only_windows_that_a_person_named_count_and_for_whom_they_said(tmp_path):
    at = project(tmp_path)
    assert confirmed(at) == ([], "")
    say(
        at,
        ((0, 2_000_000), "state", "pleasure"),
        ((2_000_000, 4_000_000), "state", "distress"),
        ((4_000_000, 6_000_000), "state", "unclear"),
        ((0, 4_000_000), "subject", "P1"),
    )
    windows, sha = confirmed(at)
    assert [w.label for w in windows] == ["pleasure", "distress"]
    assert all(abs(sum(p for _, p in w.posterior) - 1) < 1e-6 for w in windows)
    assert [(r.person, r.source, r.label, r.right) for w in windows for r in w.sources] == [
        ("P1", "face", "pleasure", True),
        ("P1", "face", "distress", False),
    ]
    assert len(sha) == 64
    at.close()


def test_a_source_speaks_for_itself_and_not_for_the_posterior(tmp_path):
    at = project(tmp_path)
    a = at.store.all(Assessment)[0]
    against = Contribution("voice", 0.5, (), (("distress", 2.0), ("pleasure", -1.5), ("calm", -0.5)), ())
    assert max(a.posterior, key=lambda p: p[1])[0] == "pleasure"
    assert said_alone(a, against) == "distress"
    at.close()
