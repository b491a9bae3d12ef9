"""Several processes that are one server: a supervisor, and workers that share port and archive.

supervisor      starts the workers and replaces those that die
worker_slot     keeps one worker running, the next when one is gone
worker_process  a process that is one of the workers, and the channel to it
worker          what each process runs
channel         calls between the supervisor and a worker
registry        all peers of all workers, in shared memory
shared          wake-ups after a commit, locks, the memory of judgements
follower        reads what the others committed
methods         the RPC API of the worker that speaks for all
"""
