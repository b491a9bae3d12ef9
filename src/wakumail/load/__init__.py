"""The load bench: `wakumail bench`. A server and its clients, each in a process of its own.

workload    what is sent, and what is asked for
clients     what clients do
scenarios   what is measured
report      how it is told
server      the server that is measured
accounting  the CPU and memory of its processes
watch       one run of the clients against one server
measures    names and units of what is measured
run         several runs of every case, in turn
"""
