"""The cases that are measured.

cases        scenarios with one kind of client
ratios       the CPU of one request against that of another
mixed        scenarios of small requests beside other clients
crowd        the scenario with thousands of peers
sync         the scenario of two archives that reconcile
transfer     an empty archive that is filled by sync
cluster      hosts that share a log, and one that catches up with it
cold         requests of an archive that is not in memory
discovery    the scenario of a flood of datagrams
attacks      the scenario of attacks, beside a client that has to be served
step_inputs  all kinds of input, each at its worst
steps        the scenario of the longest step for each of them
soak         the scenario of a long run
goals        the cases of `--targets`, with the numbers to reach
case_choice  the cases that flags choose
"""
