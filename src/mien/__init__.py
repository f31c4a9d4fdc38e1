"""mien: images, video and audio into evidence-linked training data about emotion and behaviour.

>>> import mien
>>> result = mien.analyse("clip.mp4")  # in memory, nothing kept
>>> result.signals("valence").plot()
"""

from typing import TYPE_CHECKING, Any

from mien.core.version import VERSION

__version__ = VERSION
__all__ = ["MienError", "__version__", "analyse", "init", "load_release", "open"]

if TYPE_CHECKING:
    from mien.api import analyse, init, load_release, open  # noqa: A004
    from mien.core import MienError


def __getattr__(name: str) -> Any:
    # Late, so that `import mien` (and the CLI's help) stays light.
    if name == "MienError":
        from mien.core import MienError

        return MienError
    if name in __all__:
        from mien import api

        return getattr(api, name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")
