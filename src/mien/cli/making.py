"""`mien models new`: a package with one adapter, its test and its entry point; the test passes as written."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from mien.core import MienError
from mien.models import weights as room

MANIFEST = Template("""\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "$package_name"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["mien", "numpy"]

[project.entry-points."mien.models"]
$package = "$package"

[tool.setuptools]
py-modules = ["$package"]
""")

ADAPTER = Template('''\
"""$name: an adapter for mien. Importing it loads no runtime: what is heavy is imported in `open`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Le

from mien.core import (
$imports
)

FILE = "$package.safetensors"
SIDE = 8
$constants

@adapter
class $class_name:
    """$what In: $in_words. Out: $out_words."""

    spec: ClassVar = AdapterSpec(
        name="$name",
        slot="$slot",
        takes=$takes,
        gives=$gives,
        weights=Weights(
            model="$model",
            assets=(),  # files that `mien models pull` fetches: pinned version, sha256, bytes
            bring=(Asset(FILE, "local", "your own training", "", FILE, "", 0),),  # what `mien models add` takes
            runtime=(FILE,),
            licences=Licences(code="not stated", weights="not stated", training_data="not stated"),
            note="mien models add $model FILE",
        ),
    )

    class Config(Strict):
        """What mien.toml may set under [adapters."$name"]."""

        enlarge: Annotated[float, Ge(1), Le(3)] = 1.0

    def __init__(self, net: Linear, config: Config) -> None:
        self._net, self._config = net, config

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Load the weights. Raises MienError `weights.unreadable`, `weights.wrong-shape`."""
        return cls(Linear.load(files[FILE]), config)

    @classmethod
    def tiny(cls) -> Self:
        """Seeded and without weights: the contract is tested with it."""
        return cls(Linear(np.random.default_rng(0).normal(size=(SIDE * SIDE, WIDTH)).astype(np.float32)), cls.Config())

    def run(self, batch: $takes) -> $gives:
        """One row for each row of the batch, in its order. What cannot be measured is NaN, never 0."""
        rows = np.full((len(batch), WIDTH), np.nan, np.float32)
        for i in range(len(batch)):
            cut = self._cut(batch, i)
            if min(cut.shape[:2]) >= SIDE:
                rows[i] = self._net.run(cells(cut))
        return $result

    def _cut(self, batch: $takes, row: int) -> Any:
        $cut

    def close(self) -> None:
        """May be called twice."""


class Linear:
    """The network: one layer over the cells of a picture. w float32 `[64 width]`."""

    def __init__(self, w: Any) -> None:
        self._w = w

    @classmethod
    def load(cls, path: Path) -> Self:
        from mien.models.tensors import read

        tensors, _ = read(path)
        if "w" not in tensors or tensors["w"].shape != (SIDE * SIDE, WIDTH):
            raise MienError("weights.wrong-shape", f"{path.name} must hold w [{SIDE * SIDE} {WIDTH}]", "wrong file?")
        return cls(tensors["w"])

    def run(self, x: Any) -> Any:
        """Cells `[64]` → answer `[width]`."""
        $forward


def cells(pixels: Any) -> Any:
    """Mean light of 8 × 8 cells of a picture `[h w 3]`, 0..1, as one row `[64]`."""
    grey = pixels.mean(2, dtype=np.float32) / 255
    rows, columns = (np.linspace(0, n, SIDE + 1).astype(int)[:-1] for n in grey.shape)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, 0), columns, 1)
    counts = np.outer(np.diff([*rows, grey.shape[0]]), np.diff([*columns, grey.shape[1]]))
    return (sums / counts).reshape(-1).astype(np.float32)
''')

TEST = Template('''\
"""$name keeps the contract of mien's adapters, and loads the weights it is given."""

import numpy as np
import pytest
from $package import FILE, SIDE, WIDTH, $class_name

from mien.core import Boxes, Device, Faces, Frames, MienError, People, WeightFiles
from mien.models.tensors import write


def batch(n: int):
    """n frames, with one light square each at its own place."""
    pixels = np.random.default_rng(3).integers(0, 20, (n, 96, 160, 3), dtype=np.uint8)
    for i in range(n):
        x, y = 16 * (1 + i % 7), 16 * (1 + i % 3)
        pixels[i, y : y + 12, x : x + 24] = (250, 240 - 20 * (i % 4), 230 - 30 * (i % 5))
    frames = Frames(pixels, np.arange(n, dtype=np.int64) * 40_000)
    corner = np.array([[16 * (1 + i % 7), 16 * (1 + i % 3)] for i in range(n)], np.float32).reshape(n, 2)
    boxes = Boxes(
        np.arange(n, dtype=np.int64), np.concatenate([corner, corner + 24], 1), np.ones(n, np.float32),
        np.zeros(n, np.int64), ("face",),
    )  # fmt: skip
    return {Frames: lambda: frames, Faces: lambda: Faces(frames, boxes), People: lambda: People(frames, boxes)}[
        $class_name.spec.takes
    ]()


def rows(model, given):
    answer = model.run(given)
    assert type(answer) is model.spec.gives
    return getattr(answer, "$field")


def test_one_row_each_in_order_whatever_the_size_of_the_batch():
    model = $class_name.tiny()
    whole = rows(model, batch(5))
    assert len(whole) == 5
    assert whole.dtype == np.float32
    np.testing.assert_allclose(rows(model, batch(3)), whole[:3], atol=1e-6)
    np.testing.assert_array_equal(rows(model, batch(5)), whole)  # no state is kept
    assert not np.array_equal(whole[0], whole[1])  # it looks at what it is given
    assert len(rows(model, batch(0))) == 0
    model.close()
    model.close()


def test_the_weights_decide(tmp_path):
    answers = []
    for seed in (1, 2):
        w = np.random.default_rng(seed).normal(size=(SIDE * SIDE, WIDTH)).astype(np.float32)
        write(tmp_path / FILE, {"w": w}, {})
        model = $class_name.open(WeightFiles({FILE: tmp_path / FILE}), $class_name.Config(), Device())
        answers.append(rows(model, batch(2)))
    assert not np.allclose(*answers)


def test_the_wrong_file_says_so(tmp_path):
    write(tmp_path / FILE, {"w": np.zeros((3, 3), np.float32)}, {})
    with pytest.raises(MienError) as caught:
        $class_name.open(WeightFiles({FILE: tmp_path / FILE}), $class_name.Config(), Device())
    assert caught.value.code == "weights.wrong-shape"
''')

LABELS = {
    "expression": ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
}
IMPORTS = ("AdapterSpec", "Asset", "Device", "Licences", "MienError", "Strict", "WeightFiles", "Weights", "adapter")
IN_WORDS = {"Frames": "frames", "Faces": "frames with face boxes", "People": "frames with people's boxes"}
WHOLE = "return batch.pixels[row]"
CUT = """\
pixels = batch.frames.pixels[int(batch.boxes.frame[row])]
        box = batch.boxes.xyxy[row].astype(float)
        grow = (box[2:] - box[:2]) * (self._config.enlarge - 1) / 2
        left, top = np.maximum(box[:2] - grow, 0).astype(int)
        right, bottom = np.ceil(box[2:] + grow).astype(int)
        return pixels[top:bottom, left:right]"""
SOFTMAX = """\
y = np.exp(x @ self._w - (x @ self._w).max())
        return y / y.sum()"""
RECORDS = {
    "Distribution": (
        "probabilities `[n {width}]`", "probs", "Distribution(rows, LABELS)", SOFTMAX,
        "LABELS = {labels}\nWIDTH = len(LABELS)\n",
    ),
    "Scalars": (
        "one value 0..1 for each row", "value", "Scalars(rows[:, 0], np.full(len(rows), np.nan, np.float32))",
        "return 1 / (1 + np.exp(-(x @ self._w)))", "WIDTH = 1\n",
    ),
}  # fmt: skip


def make(name: str, slot: str, folder: Path | None) -> tuple[Path, ...]:
    """Write the package. `slot` "": the part of the name before its dot. Returns the files.

    Raises:
        MienError: `models.bad-name`, `models.duplicate-name`, `models.no-template` (names the slots there are),
            `models.folder-taken`.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_-]*", name):
        message = f"an adapter is named SLOT.NAME in small letters, digits, _ and -, but got {name!r}"
        raise MienError("models.bad-name", message, "for example: mien models new expression.mine")
    adapters = room.load_adapters()
    if name in adapters:
        raise MienError("models.duplicate-name", f"there is an adapter {name!r} already", "choose another name")
    slot = slot or name.partition(".")[0]
    fits: dict[str, tuple[str, str]] = {}
    for spec in (cls.spec for cls in adapters.values()):
        if spec.takes.__name__ in IN_WORDS and spec.gives.__name__ in RECORDS:
            fits.setdefault(spec.slot, (spec.takes.__name__, spec.gives.__name__))
    if slot not in fits:
        raise MienError(
            "models.no-template",
            f"there is no skeleton for the slot {slot!r}",
            f"--slot one of: {', '.join(sorted(fits))}",
        )
    takes, gives = fits[slot]
    package = "mien_" + re.sub(r"\W", "_", name)
    folder = folder or Path(package.replace("_", "-"))
    if folder.exists() and any(folder.iterdir()):
        raise MienError("models.folder-taken", f"{folder} is not empty", "name another folder")
    labels = LABELS.get(slot, ("yes", "no"))
    out_words, field, result, forward, constants = RECORDS[gives]
    values = {
        "name": name, "slot": slot, "takes": takes, "gives": gives, "package": package, "field": field,
        "package_name": package.replace("_", "-"), "model": package.replace("_", "-").removeprefix("mien-"),
        "class_name": "".join(part.title() for part in re.split(r"\W|_", name)), "in_words": IN_WORDS[takes],
        "out_words": out_words.format(width=len(labels)), "result": result, "forward": forward,
        "constants": constants.format(labels=_quoted(labels)), "cut": WHOLE if takes == "Frames" else CUT,
        "imports": "".join(f"    {n},\n" for n in sorted({*IMPORTS, takes, gives}, key=_isort)).rstrip(),
        "what": "Say here what it measures, and what it does not.",
    }  # fmt: skip
    files = {"pyproject.toml": MANIFEST, f"{package}.py": ADAPTER, f"test_{package}.py": TEST}
    folder.mkdir(parents=True, exist_ok=True)
    for file, template in files.items():
        (folder / file).write_text(template.substitute(values), encoding="utf-8")
    return tuple(folder / file for file in files)


def _isort(name: str) -> tuple[bool, str]:
    return name[0].islower(), name.lower()


def _quoted(labels: tuple[str, ...]) -> str:
    return "(" + ", ".join(f'"{label}"' for label in labels) + ")"
