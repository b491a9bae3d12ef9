"""Several processes that are one server: a supervisor, and workers that share port and archive.

supervisor      starts the workers and replaces those that die
worker_slot     keeps one worker running, the next when one is gone
worker_process  a worker as the supervisor sees it: its process, its channel
worker          the server that each process runs
channel         calls between the supervisor and a worker
registry        the peers of all workers, in shared memory
shared          wake-ups after a commit, locks, the memory of judgements
follower        reads the commits of the other workers
methods         the RPC API of the leading worker, for all workers
"""
