"""The models of a run: opened once, when first needed, and closed together."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from typing import Any

from mien.core import AdapterSpec, Device, Fingerprint, MienError, fingerprint, probe
from mien.models.weights import effective, load_adapters, open_adapter, resolve, unknown
from mien.pipeline.config import Config
from mien.policy.egress import EgressRules
from mien.policy.identity import REFUSED
from mien.store import Store

AFFECT = "affect"  # no slot: whether affect is inferred at all
AFFECT_SLOTS = frozenset({"expression", "voice_embedding", "voice_affect", "voice_arousal", "voice_cues"})
GEOMETRY = "geometry"  # an opinion that is a rule over landmarks, not a model
GEOMETRY_RULE, POOL = "rule.prototypes@1", "rule.opinions@1"


def reach(cls: Any, config: Config) -> dict[str, Any]:
    """What an adapter that asks an endpoint gets from the project, whatever its own table says."""
    return {"egress": EgressRules(config.egress, config.context)} if "egress" in cls.Config.model_fields else {}


class Stack:
    """Slot → adapter, as `mien.toml` says.

    Raises:
        MienError: `models.unknown`, `config.invalid` when a slot names what does not exist or fit.
    """

    def __init__(self, config: Config, *, threads: int | None = None) -> None:
        """`threads`: at most so many at a time in a model's call; None: as configured."""
        self._config = config
        self._device = Device(config.analysis.device, threads or config.analysis.threads)
        self._open: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._specs: dict[str, tuple[AdapterSpec, Any]] = {}
        self._opinions: dict[str, dict[str, str]] = {}
        self._labels: dict[str, str] = {}
        for slot, name in config.stack.model_dump().items():
            if config.project.observables_only and slot in AFFECT_SLOTS:
                continue
            if name != "off" and (slot != "identity" or config.identity.enabled):
                self._specs[slot] = self._spec(slot, name)
                self._opinions[slot] = {name: slot}
        for slot, names in config.opinions.model_dump().items():
            for name in names if slot in self._specs else ():
                if name == GEOMETRY and "landmarks" in self._specs:
                    self._opinions[slot][name] = "landmarks"
                elif name not in (GEOMETRY, config.stack.model_dump()[slot]):
                    self._opinions[slot][name] = f"{slot}/{name}"
                    self._specs[f"{slot}/{name}"] = self._spec(slot, name)

    def _spec(self, slot: str, name: str) -> tuple[AdapterSpec, Any]:
        adapters = load_adapters()
        if name not in adapters:
            raise unknown(name, [n for n, c in adapters.items() if c.spec.slot == slot])
        cls: Any = adapters[name]
        if cls.spec.slot != slot:
            raise MienError(
                "config.wrong-slot", f"{name!r} fills the slot {cls.spec.slot!r}, not {slot!r}", "mien models list"
            )
        if cls.spec.biometric and not self._config.identity.enabled:
            raise MienError(
                REFUSED,
                f"{name} computes what tells one face from another, if only in memory, and identity.enabled is false",
                "set identity.enabled = true (in care an approver, too), or fill the slot with another adapter",
            )
        try:
            settings = cls.Config(**{**self._config.adapters.get(name, {}), **reach(cls, self._config)})
        except ValueError as error:
            raise MienError(
                "config.invalid", f"adapters.{name}: {error}", "see its keys: mien models list --json"
            ) from error
        weights = cls.spec.weights
        # The user's own file in place of the published one has its own fingerprint.
        return dataclasses.replace(cls.spec, weights=effective(weights) if weights else None), settings

    @property
    def device(self) -> str:
        """Where the models run: cpu or cuda."""
        return self._device.name

    @property
    def context(self) -> str:
        return self._config.context

    @property
    def identity_window_s(self) -> float:
        return self._config.identity.window_s

    def slots(self) -> list[str]:
        return list(self._specs)

    def has(self, slot: str) -> bool:
        """Whether something fills a slot; `AFFECT`: whether affect is inferred at all."""
        return not self._config.project.observables_only if slot == AFFECT else slot in self._specs

    def spec(self, slot: str) -> AdapterSpec:
        return self._specs[slot][0]

    def opinions(self, slot: str) -> dict[str, str]:
        """Name of each opinion of a slot, the first that of the stack, → what `get` opens for it."""
        return self._opinions[slot]

    def fingerprint(self, slot: str) -> Fingerprint | None:
        """The fingerprint of what fills the slot, or None when it is off."""
        held = self._specs.get(slot)
        return fingerprint(*held) if held else None

    def label(self, slot: str) -> str:
        """The fingerprint of what fills a slot, of all its opinions together; it is part of every result's key."""
        if slot not in self._labels:
            self._labels[slot] = self._label(slot)
        return self._labels[slot]

    def _label(self, slot: str) -> str:
        keys = self._opinions.get(slot, {slot: slot})
        said = [
            GEOMETRY_RULE if name == GEOMETRY else str(self.fingerprint(key) or "off") for name, key in keys.items()
        ]
        return "+".join(said) if len(said) == 1 else f"{POOL}+{'+'.join(said)}"

    def get(self, slot: str) -> Any:
        """The opened adapter of a slot. Safe to call from several threads."""
        held = self._open.get(slot)
        if held is not None:
            return held
        spec, settings = self._specs[slot]
        with probe.span("load", spec.name), self._lock:
            if slot not in self._open:
                import cv2

                cv2.setNumThreads(1)  # frames are worked on side by side already
                self._open[slot] = probe.watched(open_adapter(spec.name, settings, self._device), spec.name)
            return self._open[slot]

    def preload(self) -> None:
        """Open the models that any clip needs; what fails here fails again, and is reported, where it is used."""
        for slot, (spec, _) in self._specs.items():
            if not spec.affect:
                with contextlib.suppress(MienError):
                    self.get(slot)

    def missing_weights(self) -> list[str]:
        """Names of models whose weights are not on this machine."""
        absent: list[str] = []
        for spec, _ in self._specs.values():
            if spec.weights:
                try:
                    resolve(spec.weights)
                except MienError:
                    absent.append(spec.name)
        return absent

    def register(self, store: Store) -> None:
        """Write every adapter's fingerprint into the project, so that old results stay explainable."""
        for slot, (spec, settings) in self._specs.items():
            held = fingerprint(spec, settings)
            store.put_adapter(
                str(held), spec.name, slot, held.weights_sha256, json.dumps(settings.model_dump(mode="json"))
            )

    def close(self) -> None:
        with self._lock:
            for model in self._open.values():
                model.close()
            self._open.clear()
