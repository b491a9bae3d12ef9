"""The load bench: `wakumail bench`. A server and its clients, each in a process of its own.

workload         what is sent, and what is asked for
clients          what clients do
filled_archives  archives with traffic in them, each made once
parent_death     processes that end with the bench that started them
process_usage    CPU and memory of a process and its descendants
server_process   `wakumail serve` in a process of its own
measured_server  the server that is measured: our own, or one that runs already
measures         names and units of what is measured
watch            one run of the clients against one server
scenarios        what is measured
case_results     several runs of every case, in turn
report           the results as text, JSON and HTML
"""
