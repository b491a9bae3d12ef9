"""Several processes that are one server: a supervisor, and workers that share port and archive.

supervisor  starts the workers and replaces those that die
place       one worker, whichever process it is
worker      what each process runs
channel     calls between the supervisor and a worker
registry    all peers of all workers, in shared memory
shared      bells that wake the others after a commit, locks, the memory of judgements
follower    reads what the others committed
methods     the RPC API of the worker that speaks for all
"""
