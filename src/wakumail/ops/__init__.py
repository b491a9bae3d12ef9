"""The parts that `wakumail serve` runs.

config            the settings
assembly          the parts of a server, made from settings
endpoints         RPC and metrics over HTTP
bind_errors       tells which settings an address that is taken comes from
named_nodes       the static and trusted nodes, from settings and files
identity          the key, record, lists and settings of a node, saved and restored
restored          refuses a restored identity while its former node answers
peer_search       what finds peers, started from settings
external_address  the address at which others reach the node, found as `--nat` says
markup            HTML elements, escaped
monitoring        metrics and health
browse            an archive in a browser
workers           several processes that are one server
cluster           several hosts with one history
reload            the settings read again at SIGHUP, and what is changed by them
service_manager   tells systemd the state of the server
disk_watch        logs a warning before the disk of the archive is full
gap_watch         finds the times in which the archive took nothing
signals           events that signals set
slow_imports      imports what takes long, before there are peers who would wait
heap              settings of the allocator and the garbage collector
file_limit        the number of files that may be open
logs              the form of log lines, and where they go
log_writer        writes the log lines of a server in a thread, and counts those that are dropped
"""
