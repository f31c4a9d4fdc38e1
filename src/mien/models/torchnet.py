"""One way to run a torch network: our own module, weights from safetensors under the published keys.

torch is an extra (`pip install 'mien[torch]'`) and is imported only when a network is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import Device, MienError, missing_extra, probe
from mien.models.onnx import A, Array, B


def need_torch() -> Any:
    """The torch package.

    Raises:
        MienError: `install.missing-extra`.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "torch") from error
    return torch


def torch_device(device: Device) -> Any:
    """The torch device of `device`; what is not there is an error, never a silent fallback.

    Raises:
        MienError: `device.unavailable`.
    """
    torch = need_torch()
    if device.name == "cuda" and not torch.cuda.is_available():
        raise MienError(
            "device.unavailable", "this torch sees no CUDA device", "use --device cpu, or see 'mien doctor'"
        )
    return torch.device(device.name)


def cuda_devices() -> list[str]:
    """Names of the CUDA devices that torch sees.

    Raises:
        MienError: `install.missing-extra`.
    """
    torch = need_torch()
    return [str(torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]


def read_tensors(path: Path) -> dict[str, Array]:
    """Name → array of a safetensors file; bfloat16 and float16 become float32.

    Raises:
        MienError: `weights.unreadable`, `weights.not-finite` with the name of the first tensor that holds NaN or Inf.
    """
    torch = need_torch()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        held = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise MienError(
            "weights.unreadable", f"{path.name} is not a usable safetensors file: {error}", "run 'mien models verify'"
        ) from error
    for name, tensor in held.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise MienError("weights.not-finite", f"{name} in {path.name} holds NaN or Inf", "fetch the file again")
    return {n: (t.float() if t.is_floating_point() else t).numpy() for n, t in held.items()}


def fill(module: Any, tensors: Mapping[str, Array], where: str, unused: Iterable[str] = ()) -> Any:
    """Put `tensors` into a torch module under its own keys, each of them and nothing else; evaluation mode.

    Args:
        where: the file's name, for the error. unused: prefixes of tensors that the module has no use for.

    Raises:
        MienError: `weights.wrong-keys` (names the first missing or unknown key), `weights.wrong-shape`.
    """
    torch = need_torch()
    skip = tuple(unused)
    given = {n: t for n, t in tensors.items() if not (skip and n.startswith(skip))}
    # Batch norms count the batches they saw; old files lack the count and nothing reads it.
    own = {n: t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    given = {n: t for n, t in given.items() if not n.endswith("num_batches_tracked")}
    for kind, names in (
        ("lacks", sorted(own.keys() - given.keys())),
        ("also holds", sorted(given.keys() - own.keys())),
    ):
        if names:
            raise MienError(
                "weights.wrong-keys",
                f"{where} {kind} {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
                "it is a file of another network, or of another version of it",
            )
    for name, tensor in own.items():
        if tuple(tensor.shape) != given[name].shape:
            raise MienError(
                "weights.wrong-shape",
                f"{name} in {where} must have shape {list(tensor.shape)}, but has {list(given[name].shape)}",
                "it is a file of another network, or of another version of it",
            )
    module.load_state_dict({n: torch.from_numpy(np.ascontiguousarray(t)) for n, t in given.items()}, strict=False)
    return module.eval()


class TorchNet:
    """A torch module on one device. `run` takes and gives arrays; it is one call for the whole batch."""

    def __init__(self, module: Any, device: Device, name: str) -> None:
        torch = need_torch()
        self._torch, self._device, self._name = torch, torch_device(device), name
        if device.name == "cpu":
            torch.set_num_threads(device.threads)
        self._module: Any = module.eval().to(self._device)

    def run(self, *inputs: Array) -> list[Array]:
        """One call; outputs in the module's order, float32.

        Raises:
            MienError: `models.not-finite` when an answer holds NaN or Inf although the input does not.
        """
        torch = self._torch
        with probe.infer(self, *inputs), torch.inference_mode():
            given = self._module(*(torch.from_numpy(np.ascontiguousarray(x)).to(self._device) for x in inputs))
        outputs = given if isinstance(given, tuple | list) else (given,)
        arrays = [np.asarray(o.float().cpu().numpy()) for o in outputs]
        if not all(np.isfinite(a).all() for a in arrays):
            raise MienError(
                "models.not-finite", f"{self._name} answered NaN or Inf", "check its weights, or run it in float32"
            )
        return arrays

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """`function` over items in order (the batch is the module's own business)."""
        return probe.mapped(None, function, items)

    def close(self) -> None:
        self._module = None
