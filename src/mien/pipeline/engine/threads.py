"""One thread for numpy's linear algebra, in every process that does media stages.

Two threads add up a product in another order than one, and a head's answer moves in its last digit. Workers have one
thread each; this process has to have the same, or who does the work would show in the results.
"""

from __future__ import annotations

import functools


@functools.cache
def one_blas_thread() -> None:
    """Limit the BLAS that is loaded, for the life of this process (whatever it is: OpenBLAS, MKL, BLIS)."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    np.dot(np.ones(1), np.ones(1))  # loaded now, so that it is found
    threadpool_limits(limits=1, user_api="blas")
