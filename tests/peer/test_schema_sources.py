"""The schemas that exports are held to, held to the trainers' own sources: every key is one that their code reads.

`MIEN_PEERS`: a folder with checkouts (`diffusion-pipe`, `ai-toolkit`, `SimpleTuner`, `OneTrainer`), never copied.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "export"))
from studio import job, studio
from trainer_schemas import SCHEMAS, keys

from mien.export.diffusion import TRAINERS
from mien.testing.media import Recipe

pytestmark = pytest.mark.peer
_CONCEPTS = """
import json
from modules.util.config.ConceptConfig import ConceptConfig
rows = [ConceptConfig.default_values().from_dict(r).to_dict() for r in json.load(open("concepts.json"))]
print("TOLD " + json.dumps(rows))
"""


def checkout(name: str) -> Path:
    root = Path(os.environ.get("MIEN_PEERS", "")) / name
    if not os.environ.get("MIEN_PEERS") or not root.is_dir():
        pytest.skip(f"no checkout of {name}: set MIEN_PEERS to the folder that holds it")
    return root


@pytest.mark.parametrize("trainer", SCHEMAS)
def test_every_key_is_read_by_the_trainer(trainer):
    model, (repository, _, files), _ = SCHEMAS[trainer]
    text = "\n".join((checkout(repository) / f).read_text(encoding="utf-8") for f in files)
    named = set(re.findall(r"""["']([A-Za-z_]\w*)["']""", text))
    assert len(keys(model)) > 15
    assert keys(model) - named == set()


def test_onetrainer_makes_the_concepts_that_were_meant(tmp_path):
    root = checkout("OneTrainer")
    held = studio(tmp_path, {"a": {}}, recipe=Recipe(1.5, 16, 256, 256, sound=False))
    (tmp_path / "o").mkdir()
    next(t for t in TRAINERS if t.name == "onetrainer").write(job(held), tmp_path / "o")
    held.close()
    run = subprocess.run(
        [sys.executable, "-c", _CONCEPTS], cwd=tmp_path / "o", env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Could not set" not in run.stdout
    (made,) = json.loads(run.stdout.rpartition("TOLD ")[2])
    (given,) = json.loads((tmp_path / "o" / "concepts.json").read_text())
    assert made["type"] == "STANDARD"
    for key in given.keys() - {"__version", "validation_concept", "image", "text"}:
        assert made[key] == given[key]
    for part in ("image", "text"):
        assert {k: made[part][k] for k in given[part]} == given[part]
    assert not [k for k, v in made["image"].items() if v is True]  # nothing of the picture is changed
