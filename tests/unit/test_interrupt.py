"""A Ctrl-C that the interpreter swallows still ends the run."""

import os
import signal

import pytest

from mien.cli.progress import listening
from mien.pipeline import Event


class Swallowing:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the signal's handler runs between two instructions of this
            pass


def heard(as_json: bool, *events: Event) -> None:
    with listening(as_json) as listener:
        held = Swallowing()
        del held  # printed as "Exception ignored", and forgotten
        for event in events:
            listener(event)
            pytest.fail("the run went on")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("events", [(Event("plan"),), ()], ids=["at the next event", "after the last event"])
def test_an_interrupt_in_a_destructor_is_raised_again(as_json, events):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        heard(as_json, *events)
    assert signal.getsignal(signal.SIGINT) is before
