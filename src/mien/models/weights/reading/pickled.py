"""Pickles read, never run: an interpreter of the opcodes that builds plain values and inert notes of all else.

Nothing is imported, looked up or called for a file. A global is a `Name`; calling one is allowed for a list of names,
and then makes a note (`Made`), a dict, or what `Torch` says a tensor is. Anything else that a pickle machine would run
is refused. References: Python's `pickletools`; the layouts of torch.serialization.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from mien.models.weights.reading.tensors import carries_code, too_large, unreadable

MAX_OPCODES = 50_000_000


@dataclass(frozen=True, slots=True)
class Name:
    """A global that a file names. It stays a name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Made:
    """An object that a pickle machine would make: by which class or function, of what. It stays a note."""

    by: Name
    args: tuple[Any, ...] = ()
    state: Any = None


DICTS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"}
NOTES = DICTS | {
    "_codecs.encode", "argparse.Namespace", "builtins.bytearray", "builtins.complex", "builtins.frozenset",
    "builtins.list", "builtins.object", "builtins.range", "builtins.set", "builtins.slice", "builtins.tuple",
    "collections.deque", "copyreg._reconstructor", "datetime.date", "datetime.datetime", "datetime.timedelta",
    "functools.partial", "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.dtype", "numpy.ndarray",
    "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath",
    "pathlib.WindowsPath", "pathlib._local.PosixPath", "torch.Size", "torch.device", "torch.serialization._get_layout",
}  # fmt: skip
"""What may be called, which means: noted. None of it is a tensor, all of it is dropped later (dicts stay dicts)."""
_BARE = {"builtins.int", "builtins.float", "builtins.bool", "builtins.str", "builtins.bytes", "builtins.NoneType"}
_OLD = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's names
_PLAIN = (str, int, float, bytes, type(None))
_REFUSED = {"PERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_MAKES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple, "EMPTY_SET": list,
}  # fmt: skip
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError, RecursionError)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Torch:
    """What a container knows that the pickle inside does not: persistent ids, and which calls make tensors."""

    def persistent(self, pid: Any) -> Any:
        """The value of a persistent id."""
        raise carries_code(f"the persistent id {pid!r}"[:200])

    def call(self, name: Name, args: tuple[Any, ...]) -> Any:
        """The tensor that this call stands for, or NotImplemented."""
        return NotImplemented


class Machine:
    """One pickle: `read` gives its value. Sets become lists; dict entries under keys that are not plain are left out.

    Raises:
        MienError: `weights.can-carry-code`, `weights.unreadable`, `weights.too-large`.
    """

    def __init__(self, torch: Torch | None = None) -> None:
        self._torch = torch or Torch()
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._objects: list[Made] = []

    def read(self, file: IO[bytes]) -> Any:
        try:
            for count, (opcode, arg, _) in enumerate(pickletools.genops(file)):
                if count > MAX_OPCODES:
                    raise too_large(f"more than {MAX_OPCODES} steps")
                self._step(opcode.name, arg)
            (value,) = self._stack
        except _DAMAGE as error:
            raise unreadable(f"its pickle is damaged ({type(error).__name__}: {error})"[:200]) from error
        for made in self._objects:
            if not is_module(made):
                raise carries_code(f"an object of {made.by}")
        return value

    def _step(self, op: str, arg: Any) -> None:
        stack = self._stack
        if op in _VALUES:
            stack.append(arg)
        elif op in _MAKES:
            stack.append(_MAKES[op]())
        elif op in _TUPLES:
            count = _TUPLES[op]
            if len(stack) < count:
                raise IndexError("nothing is there")
            stack[-count:] = [tuple(stack[-count:])]
        elif op in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[arg] = stack[-1]
        elif op == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif op in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[arg])
        elif op in _REFUSED:
            raise carries_code(f"the opcode {op}")
        elif op not in ("PROTO", "FRAME", "STOP"):
            getattr(self, f"_{op.lower()}")(arg)

    # ------------------------------------------------------------ containers

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _since(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since()

    def _pop_mark(self, _: Any) -> None:
        self._since()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _tuple(self, _: Any) -> None:
        items = self._since()
        self._stack.append(tuple(items))

    def _list(self, _: Any) -> None:
        items = self._since()
        self._stack.append(items)

    def _frozenset(self, _: Any) -> None:
        self._list(_)

    def _dict(self, _: Any) -> None:
        items = self._since()
        self._stack.append({})
        self._put(items)

    def _append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since())

    def _additems(self, _: Any) -> None:
        self._extend(self._since())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Made):
            raise TypeError("items for what is no list")

    def _setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._put([key, value])

    def _setitems(self, _: Any) -> None:
        self._put(self._since())

    def _put(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            target.update((k, v) for k, v in pairs if isinstance(k, _PLAIN))
        elif not isinstance(target, Made):
            raise TypeError("entries for what is no dict")

    # ------------------------------------------------------------ what a pickle machine would run

    def _name(self, module: Any, name: Any) -> Name:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise carries_code("a global without a name")
        found = Name(_OLD.get(module, module), name)
        ours = found.module.partition(".")[0] in {*sys.stdlib_module_names, "builtins", "posix", "nt"}
        if ours and str(found) not in NOTES | _BARE:
            raise carries_code(str(found))
        return found

    def _global(self, arg: str) -> None:
        self._stack.append(self._name(*arg.split(" ", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._name(module, name))

    def _binpersid(self, _: Any) -> None:
        self._stack.append(self._torch.persistent(self._stack.pop()))

    def _reduce(self, _: Any) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._called(function, args))

    def _inst(self, arg: str) -> None:
        args = tuple(self._since())
        self._stack.append(self._called(self._name(*arg.split(" ", 1)), args))

    def _obj(self, _: Any) -> None:
        function, *args = self._since()
        self._stack.append(self._called(function, tuple(args)))

    def _called(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise carries_code(f"a call of {_said(function)}")
        tensor = self._torch.call(function, args)
        if tensor is not NotImplemented:
            return tensor
        if str(function) == "copyreg._reconstructor" and args and isinstance(args[0], Name):
            return self._instance(args[0])
        if str(function) not in NOTES:
            raise carries_code(f"a call of {function}")
        if str(function) in DICTS:
            pairs = args[0] if args and isinstance(args[0], (list, tuple)) else ()
            return {k: v for k, v in pairs if isinstance(k, _PLAIN)}
        if str(function) in ("builtins.set", "builtins.frozenset"):
            return list(args[0]) if args and isinstance(args[0], (list, tuple)) else []
        return Made(function, args)

    def _newobj(self, _: Any) -> None:
        args, cls = self._stack.pop(), self._stack.pop()
        self._stack.append(self._called(cls, args) if _listed(cls) else self._instance(cls))

    def _newobj_ex(self, _: Any) -> None:
        self._stack.pop()  # arguments by name
        self._newobj(_)

    def _instance(self, cls: Any) -> Made:
        """An object of a class that is not listed: a network's module, or `read` refuses the file at its end."""
        if not isinstance(cls, Name):
            raise carries_code(f"an object of {_said(cls)}")
        made = Made(cls)
        if not _listed(cls):
            self._objects.append(made)
        return made

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Made):
            target.state = state
        elif isinstance(target, Name):
            raise carries_code(f"a change of {target}")


def is_module(value: Any) -> bool:
    """Whether a note is that of a torch module: a state with its three tables."""
    state = value.state if isinstance(value, Made) else None
    return isinstance(state, dict) and all(
        isinstance(state.get(key), dict) for key in ("_parameters", "_buffers", "_modules")
    )


def _listed(cls: Any) -> bool:
    return isinstance(cls, Name) and str(cls) in NOTES


def _said(value: Any) -> str:
    return str(value) if isinstance(value, Name) else f"a {type(value).__name__}"
