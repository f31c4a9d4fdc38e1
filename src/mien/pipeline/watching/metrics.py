"""A run's figures for Prometheus, served on this machine alone (`pip install 'mien[metrics]'`).

Labels come from short lists (stages of the plan, states, codes): never names of people, files or rooms.
"""

from __future__ import annotations

import re
import time
from typing import Any, Self

from mien.core import MienError, missing_extra
from mien.pipeline.engine.resident import resident_mb
from mien.pipeline.events import Event
from mien.pipeline.plan import STAGES

HOST = "127.0.0.1"
LABELS = ("stage", "state", "code", "adapter")
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
AROUND = ("register", "input", "clips", "compare")  # what is done to sources, items and projects
CODE = re.compile(r"[a-z]+(\.[a-z0-9-]+){1,3}")
MOST_CODES = 100  # an adapter from elsewhere may make up codes; beyond this many they are one


class Metrics:
    """`with Metrics(port) as m: project.run(..., listener=m.listen)`. `m.port` is the port in use (0 asks for any).

    Raises:
        MienError: `install.missing-extra`; `metrics.port` when the port cannot be had.
    """

    def __init__(self, port: int) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise missing_extra("prometheus-client", "metrics") from error
        self.port, self._serve = port, prometheus.start_http_server
        self._registry = prometheus.CollectorRegistry()
        kept: dict[str, Any] = {"registry": self._registry}
        self._clips = prometheus.Counter("mien_clips", "Clips that are settled.", **kept)
        self._stages = prometheus.Counter("mien_stages", "Results made durable.", ("stage", "state"), **kept)
        self._failures = prometheus.Counter("mien_failures", "Failures.", ("stage", "code"), **kept)
        self._seconds = prometheus.Histogram(
            "mien_stage_seconds", "What a stage of one clip took.", ("stage",), buckets=SECONDS, **kept
        )
        self._queue = prometheus.Gauge("mien_queue_clips", "Clips given out and not yet settled.", **kept)
        self._memory = prometheus.Gauge("mien_resident_bytes", "Resident memory of the writer.", **kept)
        self._speed = prometheus.Gauge("mien_times_real_time", "Media seconds ÷ seconds, of what is new.", **kept)
        self._done = prometheus.Gauge("mien_media_done_seconds", "Media that is settled.", **kept)
        self._total = prometheus.Gauge("mien_media_total_seconds", "Media of the project.", **kept)
        self._memory.set_function(lambda: (resident_mb() or 0.0) * 1e6)
        self._known = {*(s.name for s in STAGES), *AROUND}
        self._codes: set[str] = set()
        self._under_way: set[str] = set()
        self._fresh_s, self._started = 0.0, time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._server, self._thread = self._serve(self.port, HOST, self._registry)
        except OSError as error:
            message = f"port {self.port} of {HOST} cannot be had: {error.strerror}"
            raise MienError("metrics.port", message, "give another --metrics-port") from error
        self.port = self._server.server_port
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def listen(self, event: Event) -> None:
        match event.kind:
            case "begun":
                self._under_way.add(event.unit)
            case "ended":
                self._clips.inc(event.text != "again")
                if event.unit in self._under_way:
                    self._under_way.remove(event.unit)
                    self._fresh_s += event.clip_s
                    self._speed.set(self._fresh_s / max(1e-9, time.monotonic() - self._started))
            case "progress" | "plan" | "done":
                self._done.set(event.done_s)
                self._total.set(event.total_s)
            case "stage":
                self._stages.labels(self._stage(event.stage), event.text).inc()
                if event.ms is not None:
                    self._seconds.labels(self._stage(event.stage)).observe(event.ms / 1000)
            case "waiting":
                self._stages.labels(self._stage(event.stage), "waiting").inc()
            case "failed":
                self._stages.labels(self._stage(event.stage), "failed").inc()
                self._failures.labels(self._stage(event.stage), self._code(event.code)).inc()
            case _:
                pass
        self._queue.set(len(self._under_way))

    def _stage(self, name: str) -> str:
        return name if name in self._known else "other"

    def _code(self, code: str) -> str:
        if not CODE.fullmatch(code) or (code not in self._codes and len(self._codes) >= MOST_CODES):
            return "other"
        self._codes.add(code)
        return code
