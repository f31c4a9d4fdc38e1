"""Importing is cheap: no heavy library comes in before it is needed."""

import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "onnxruntime",
    "ctranslate2",
    "cv2",
    "av",
    "pandas",
    "matplotlib",
    "sklearn",
    "scenedetect",
    "onnx",
    "pyarrow",
    "scipy.signal",
)


def test_the_commands_and_every_adapter_import_no_heavy_library():
    code = (
        "import sys, importlib, mien, mien.cli.app, mien.api, mien.models\n"
        "[importlib.import_module(m) for m in mien.models.MODULES]\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
