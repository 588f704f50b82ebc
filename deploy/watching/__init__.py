"""What watches a server, made from the table of metrics: alerts of Prometheus, a dashboard of Grafana, lists of docs.

`python -m deploy.watching` writes deploy/prometheus/alerts.yaml, deploy/grafana/featsvc.json and the lists in
docs/operations.md.
"""
