"""Films with sound for models that make both: what is heard is heard with what is seen, in the written file."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from studio import job, studio
from trainer_schemas import SCHEMAS, checked, held

from mien.export.diffusion import TRAINERS
from mien.testing.media import Recipe

WITH_SOUND = ("ai-toolkit", "simpletuner")  # the others' films are made by the same call
CLAP = {
    "seconds": 3.0,
    "fps": 30,
    "width": 320,
    "height": 256,
    "cuts_s": (1.2,),
    "tone_s": (1.2, 1.7),
    "rate_hz": 44_100,
}


def flash_and_click(path: Path) -> tuple[float, float]:
    """Seconds at which the picture changes most, and at which something is heard first."""
    with av.open(str(path)) as file:
        frames = [(f.time, f.to_ndarray(format="gray").astype(int)) for f in file.decode(video=0)]
    change = [np.abs(b[1] - a[1]).mean() for a, b in pairwise(frames)]
    with av.open(str(path)) as file:
        heard = [(f.time, f.to_ndarray()[0], f.sample_rate) for f in file.decode(audio=0)]
    at = next(t + np.argmax(np.abs(x) > 0.02) / rate for t, x, rate in heard if (np.abs(x) > 0.02).any())
    return frames[int(np.argmax(change)) + 1][0], float(at)


def written(root: Path, trainer: str, **more) -> Path:
    root.mkdir()
    project = studio(root, {"clap": {}}, recipe=Recipe(**(CLAP | more)))
    (root / "o").mkdir()
    next(t for t in TRAINERS if t.name == trainer).write(job(project, target="ltx"), root / "o")
    project.close()
    return root / "o"


@pytest.mark.parametrize("trainer", WITH_SOUND)
def test_a_planted_click_is_heard_with_the_planted_flash(tmp_path, trainer):
    folder = written(tmp_path / "p", trainer)
    (film,) = (folder / "media").rglob("*.mp4")
    flash, click = flash_and_click(film)
    assert flash == pytest.approx(1.2, abs=0.045)  # a frame of 24 a second
    assert click == pytest.approx(flash, abs=0.045)
    with av.open(str(film)) as file:
        picture, sound = file.streams.video[0], file.streams.audio[0]
        assert sound.rate == 48_000
        lengths = [float(s.duration * s.time_base) for s in (picture, sound)]
    assert lengths[1] == pytest.approx(lengths[0], abs=0.03)
    if trainer in SCHEMAS:
        told = held(folder, trainer)
        checked(trainer, told)
        assert '"do_audio": True' in repr(told).replace("'", '"') or trainer != "ai-toolkit"
        assert '"auto_split": True' in repr(told).replace("'", '"') or trainer != "simpletuner"


def test_sound_that_comes_later_in_the_recording_comes_as_much_later_in_the_file(tmp_path):
    """The check above is one that can fail."""
    (film,) = (written(tmp_path / "p", "ai-toolkit", sound_delay_s=0.3) / "media").rglob("*.mp4")
    flash, click = flash_and_click(film)
    assert click - flash == pytest.approx(0.3, abs=0.045)
