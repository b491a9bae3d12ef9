"""The load bench: `wakumail bench` (wakumail.cli.bench).

A server in a process of its own, clients in others, on loopback unless another host is named:

    accounting  server             what a server costs, and one to measure
    traffic     requests           what an archive is filled with, and what is asked of it
    skim        channel     live   a connection that costs its client little, and what to send
    sending, asking, listening, waiting, calling, dawdling    what clients do, one load a module
    crew                           the processes that do it
    watch       metrics            one run of them, and what it comes to
    cases, beside, crowd, soak     the scenarios
    presets                        the cases of a run: from flags, or the rows of a goal
    run         machine            several runs of every case, in turn, and their medians
    tables      page       bars    the report: for a terminal, and as HTML
"""
