"""Settings of workers that may be on other machines."""

from __future__ import annotations

from dataclasses import dataclass

from featsvc.settings.kinds import ONE, Counts, Patience, PoolKind, Ratio, Share


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Workers over Ray."""

    pool: PoolKind = "local"
    """Local: processes of this machine; ray: Ray actors, also on other machines (needs pip install 'featsvc[ray]')."""
    ray_address: str = ""
    """Cluster to join: auto, or HOST:PORT of its head; without one a Ray of this machine is started."""
    ray_workers: Counts = ONE
    """Workers over Ray, or the least and the most of them (2..16): between those they follow the work."""
    gpus_per_worker: Ratio = 0.0
    """GPUs of a worker over Ray: 1, a part that several share, or 0 for a CPU."""
    cpus_per_worker: Share = 1.0
    """Cores of a worker over Ray: Ray places it where so many are free, and it computes and decodes with them."""
    worker_backlog: Patience = 1.0
    """Seconds of work, as predicted, that must wait for one more worker over Ray to start; for two twice as many."""
    worker_idle: Patience = 60.0
    """Seconds in which a worker over Ray was not needed, after which one ends."""
