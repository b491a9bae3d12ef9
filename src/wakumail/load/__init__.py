"""The load bench: `wakumail bench`. A server and its clients, each in a process of its own.

workload         the envelopes that are sent, and the requests
clients          the kinds of clients, and the processes that they run in
filled_archives  archives with traffic in them, each made once
parent_death     processes that end with the bench that started them
process_usage    CPU and memory of a process and its descendants
server_process   `wakumail serve` in a process of its own
measured_server  the server under load: our own, or one that runs already
metered_server   our own server, which measures the steps of its loop
cluster_log      the log of a cluster, which a command gives
measures         the names and units of the numbers in a report
watch            one run of the clients against one server, and its cost
floor            the CPU that the kernels alone take
scenarios        the cases that are measured
case_results     several runs of every case, in turn
report           the results as text, JSON and HTML
"""
