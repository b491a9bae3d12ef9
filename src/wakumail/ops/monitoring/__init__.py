"""Metrics and health.

report        what one worker measured
reporter      makes the report of this process
exposition    metrics in the format of Prometheus: counters, histograms, gauges
statusgo      the counters of status-go, as sums of ours
health        whether the server answers its own requests
client_names  the software of a peer, from its client id
pages         /metrics, /health, /ready and /live
"""
