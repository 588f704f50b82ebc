"""The worker process: `python -m featsvc.pool.worker FD`. It alone builds engines."""
