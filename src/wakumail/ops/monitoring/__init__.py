"""Metrics and health.

report             the measures and problems of one process, as plain values
reporter           makes the report of this process
exposition         metrics in the format of Prometheus: counters, histograms, gauges
statusgo_counters  the counters of status-go, as sums of ours
health             finds out if the server answers its own requests
step_meter         the longest step of the loop, for the load bench
client_names       the software of a peer, from its client id
numbers            the numbers of a report, looked up by the names of /metrics
cards              the metrics that the page for a browser shows, with their names and forms
overview           the page for a browser
static             its frame, style and script
pages              /, /metrics, /health, /ready and /live
"""
