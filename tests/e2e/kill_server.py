"""`mien` commands as forks of one process that has imported all of it, so that a kill costs a run and not its imports.

Reads lines `[[argument, …], {variable: value}, file for stdout]`; says the pid of each, then how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path


def forked(arguments: list[str], environment: dict[str, str], out: str, modules: Path | None = None) -> int:
    from mien.cli import app

    child = os.fork()
    if child:
        return child
    os.environ.update(environment)
    for number, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (out, os.O_CREAT | os.O_WRONLY))):
        os.dup2(os.open(path, flags), number)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.argv = ["mien", *arguments]
    if modules is not None:
        real = os._exit

        def told(code: int) -> None:
            modules.write_text("\n".join(sys.modules))
            real(code)

        os._exit = told  # how `main` ends
    with suppress(SystemExit):
        app.main()
    os._exit(3)


def main() -> None:
    first, said = True, Path(sys.argv[1])
    for line in sys.stdin:
        arguments, environment, out = json.loads(line)
        child = forked(arguments, environment, out, said if first else None)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        if first:  # what a run imports as it goes on is there for the next ones
            for name in said.read_text().splitlines() if said.exists() else ():
                with suppress(Exception):
                    importlib.import_module(name)
        first = False


if __name__ == "__main__":
    main()
