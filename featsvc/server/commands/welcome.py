"""What `featsvc up` and `serve` say on standard output: words on a terminal, a line of JSON an event elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from featsvc.catalog import WeightsPlace, check, entry_of
from featsvc.catalog.choice import default_models
from featsvc.output import announce
from featsvc.pool.contract.status import PoolStatus
from featsvc.server.keys.api_keys import ApiKeys
from featsvc.settings.access import DEFAULT_KEY, Host
from featsvc.settings.tree import GatewaySettings

REST_PORTS = {"CLIP": "clip_port", "DINO": "dino_port", "SAM2": "sam2_port"}
LOCALHOST = ("127.0.0.1", "[::1]")


class Announcer:
    """Says when the server listens and when it is ready."""

    def __init__(self, settings: GatewaySettings, keys: ApiKeys, place: WeightsPlace) -> None:
        self._settings = settings
        self._keys = keys
        self._place = place
        self._words = settings.log_format == "auto" and sys.stdout.isatty()

    def listening(self, ports: Mapping[str, int]) -> None:
        """The ports are open; models may still be loading."""
        if self._words:
            announce(self._welcome(ports))
        else:
            _event("listening", **ports)

    def ready(self, status: PoolStatus) -> None:
        """The first worker takes work; what it should have loaded and could not is told now."""
        workers = status.alive
        failed = {model.name: model.reason for worker in status.workers for model in worker.failed_models}
        if self._words:
            announce(f"Ready: {workers} worker{'s' if workers > 1 else ''}.")
            for name, reason in failed.items():
                announce(f"  {name} cannot be loaded: {reason}")
        else:
            _event("ready", workers=workers, **({"failed_models": failed} if failed else {}))

    def stopping(self, status: PoolStatus) -> None:
        """It ends, and waits for what is at work; where nothing is, there is nothing to tell."""
        count, grace_s = status.open_requests, self._settings.grace
        if count and self._words:
            waiting = f"{count} request{'s' if count > 1 else ''}"
            announce(f"Stopping: {waiting} may take up to {grace_s:g} s more; Ctrl-C again ends at once.")
        elif count:
            _event("stopping", requests=count, grace_s=grace_s)

    def _welcome(self, ports: Mapping[str, int]) -> str:
        reachable = self._settings.reachable_host
        host = "localhost" if reachable in LOCALHOST else reachable
        scheme = "https" if self._settings.tls_cert else "http"
        rows = [("page", f"{scheme}://{host}:{ports['page_port']}")] if "page_port" in ports else []
        rows += [
            (name, f"{scheme}://{host}:{ports[port]}   docs at {scheme}://{host}:{ports[port]}/docs")
            for name, port in REST_PORTS.items()
            if port in ports
        ]
        rows += [
            ("gRPC", f"{host}:{ports['grpc_port']}{'   (TLS)' if self._settings.tls_cert else ''}"),
            *(("metrics", self._metrics(ports[name])) for name in ports if name == "metrics_port"),
            ("key", self._key()),
            *(("models" if not index else "", line) for index, line in enumerate(self._models())),
            ("try", self._example(host, ports)),
            ("stop", "Ctrl-C"),
        ]
        return "\n".join(["featsvc is listening", *(f"  {name:<7} {text}" for name, text in rows)])

    def _metrics(self, port: int) -> str:
        reachable = Host(host=self._settings.metrics_host).reachable_host
        return f"http://{'localhost' if reachable in LOCALHOST else reachable}:{port}/metrics"

    def _key(self) -> str:
        if self._keys.is_documented:
            return f"{DEFAULT_KEY} (the documented one, good on this machine only)"
        return f"yours ({len(self._keys)} in force)"

    def _models(self) -> list[str]:
        """The default of each service, and what else is preloaded, with what would mend missing weights."""
        entries = {entry.key: entry for entry in default_models(self._settings.profile)}
        entries |= {key: entry_of(key) for key in self._settings.preload}
        lines = []
        for entry in entries.values():
            status = check(entry, self._place)
            if status.file:
                state = "weights are here"
            elif self._place.offline:
                state = f"no weights here: {status.missing}"
            else:
                state = f"no weights here yet, the first request fetches them; {status.missing}"
            lines.append(f"{entry.key} ({entry.family.upper()}): {state}")
        return lines

    def _example(self, host: str, ports: Mapping[str, int]) -> str:
        beside = Path(sys.executable).with_name("featsvc")
        program = str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else "featsvc"
        target = f"{host}:{ports['grpc_port']}"
        flags = "" if target == "localhost:50051" else f" --target {target}"
        flags += "" if self._keys.is_documented else " --api-key KEY"
        flags += " --tls-ca FILE" if self._settings.tls_cert else ""
        if self._settings.tls_client_ca:
            # Beside a certificate no key goes unless it is said.
            flags += " --tls-cert FILE --tls-key FILE"
            flags += f" --api-key {DEFAULT_KEY}" if self._keys.is_documented else ""
        return f"{program} demo{flags}   (draws what all three answer into featsvc-demo.png)"


def _event(event: str, **values: object) -> None:
    announce(json.dumps({"event": event, **values}))
