"""Numpy's linear algebra has one thread wherever media stages are done: more would add up in another order."""

import subprocess
import sys

CODE = """
import os, numpy as np
from threadpoolctl import threadpool_info
def most(): return max(i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas")
before = most()
from mien.pipeline.config import load
from mien.pipeline.engine.hand import Hand
Hand(None, load(None, {"project": {"context": "research"}})[0].analysis, side_by_side=True)
print(before, most())
"""


def test_a_hand_holds_linear_algebra_to_one_thread_also_where_numpy_was_loaded_with_more():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        env={"OPENBLAS_NUM_THREADS": "2", "PATH": ""},
    )
    before, after = done.stdout.split()
    assert (before, after) == ("2", "1")
