"""Which of a checkpoint's values are the network: one rule, said aloud, or the key that the user gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mien.core import MienError
from mien.models.weights.reading.pickled import is_module
from mien.models.weights.reading.tensors import too_large, unreadable

NAMED = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params")
_TRAINING = ("optim", "sched", "scaler", "lr_")
MAX_DEPTH, MAX_ENTRIES = 64, 1 << 20


@dataclass(frozen=True, slots=True)
class Chosen:
    """Tensors by published name, where they were found, what else was there."""

    tensors: dict[str, Any]
    took: str
    dropped: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    kinds: tuple[type, ...]
    left: int = MAX_ENTRIES
    held: dict[int, bool] = field(default_factory=dict)

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise too_large(f"it has more than {MAX_ENTRIES} entries")

    def holds(self, value: Any, depth: int = 0) -> bool:
        """Whether there is a network in a value: a module, or tensors by name, at any depth."""
        if is_module(value):
            return True
        if not isinstance(value, dict) or depth > MAX_DEPTH:
            return False
        if id(value) not in self.held:
            self.held[id(value)] = False  # a dict that holds itself holds nothing by that
            self.held[id(value)] = self._direct(value) or any(self.holds(v, depth + 1) for _, v in self.inner(value))
        return self.held[id(value)]

    def _direct(self, value: dict[Any, Any]) -> bool:
        return any(isinstance(v, self.kinds) and isinstance(k, str) for k, v in value.items())

    def inner(self, value: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
        for key, held in value.items():
            self.step()
            if isinstance(key, str) and not key.lower().startswith(_TRAINING):
                yield key, held


def choose(value: Any, key: str, kinds: tuple[type, ...]) -> Chosen:
    """The network of a checkpoint: under `key` where one is given, else by this rule, from the outside in.

    A pickled module is the network. In a dict, the first of `NAMED` that holds one is gone into; else a dict that has
    tensors itself is the network; else the only entry that holds one is gone into (training state does not count).

    Raises:
        MienError: `weights.no-key`, `weights.no-tensors`, `weights.ambiguous`, `weights.unreadable`,
            `weights.too-large`.
    """
    walk, path, others = _Walk(kinds), list[str](), list[str]()
    if key:
        value, path = _at(value, key), [key]
    for _ in range(MAX_DEPTH):
        if is_module(value) or not isinstance(value, dict):
            break
        inside = {k: v for k, v in walk.inner(value) if walk.holds(v)}
        name = next((n for n in NAMED if n in inside), "")
        if not name and walk._direct(value):
            break
        if not name and len(inside) > 1:
            keys = ", ".join(repr(k) for k in list(inside)[:8])
            first = ".".join((*path, next(iter(inside))))
            raise MienError(
                "weights.ambiguous", f"the file holds several networks, under {keys}", f"say which: --key {first}"
            )
        if not inside:
            break
        name = name or next(iter(inside))
        others += [".".join((*path, k)) for k in inside if k != name]
        value = inside[name]
        path.append(name)
    tensors, dropped = dict[str, Any](), list[str]()
    if is_module(value):
        _module(value, "", tensors, walk, 0)
    elif isinstance(value, dict):
        for name, held in value.items():
            walk.step()
            if isinstance(held, kinds) and isinstance(name, str):
                tensors[name] = held
            else:
                dropped.append(f"{name!s:.80} ({_kind(held)})")
    if not tensors:
        raise MienError("weights.no-tensors", "the file holds no tensors by name", "is it the file of this model?")
    return Chosen(tensors, ".".join(path), tuple(dropped), tuple(others))


def _at(value: Any, key: str) -> Any:
    """The entry under a dotted key; names may hold dots themselves, the longest wins."""
    while key:
        if not isinstance(value, dict):
            raise MienError("weights.no-key", f"there is nothing under {key!r}", "leave --key out to see what there is")
        hits = [k for k in value if isinstance(k, str) and (key == k or key.startswith(f"{k}."))]
        if not hits:
            known = ", ".join(repr(k) for k in list(value)[:8])
            raise MienError("weights.no-key", f"there is no {key!r}", f"the file has {known}")
        hit = max(hits, key=len)
        value, key = value[hit], key[len(hit) + 1 :]
    return value


def _module(made: Any, prefix: str, tensors: dict[str, Any], walk: _Walk, depth: int) -> None:
    """The names that `Module.state_dict` gives: parameters, lasting buffers, then those of the modules inside."""
    if depth > MAX_DEPTH:
        raise unreadable("its modules are nested without end")
    state = made.state
    passing = state.get("_non_persistent_buffers_set") or ()
    own = [*state["_parameters"].items(), *((n, t) for n, t in state["_buffers"].items() if n not in passing)]
    for name, held in own:
        walk.step()
        if isinstance(held, walk.kinds) and tensors.setdefault(f"{prefix}{name}", held) is not held:
            raise unreadable(f"it holds {prefix}{name} twice")
    for name, inner in state["_modules"].items():
        walk.step()
        if is_module(inner):
            _module(inner, f"{prefix}{name}.", tensors, walk, depth + 1)


def _kind(value: Any) -> str:
    by = getattr(value, "by", None)
    if by is not None:
        return str(by)
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (dict, list, tuple)) else type(value).__name__
