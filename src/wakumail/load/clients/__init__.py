"""The clients of the bench, one kind in each file, and the processes that they run in.

role                 the interface of a client, and the outcome of its run
skimmer              reads frames without decrypting all of them
blocking_connection  a connection that takes little CPU of its client
sender               sends envelopes
history_reader       asks for history
envelope_listener    receives every envelope
idle_client          keeps many idle connections
storm_client         makes many connections at once
slow_reader          asks for much and reads little
datagram_flood       floods discovery with pings
rpc_caller           calls of the RPC API over each transport
processes            the processes of the clients
"""
