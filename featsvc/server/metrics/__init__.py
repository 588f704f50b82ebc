"""What Prometheus, probes and `featsvc top` see of the gateway; imported only where a port for it is open."""
