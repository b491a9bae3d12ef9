"""The clients of the bench, one kind a file, and the processes that they run in.

role                 what a client is, and what it comes to
skimmer              reads the sizes of frames without decrypting them
blocking_connection  a connection that costs its client little
sender               sends envelopes
history_reader       asks for history
envelope_listener    takes every envelope
idle_client          keeps many connections open
storm_client         connects many times at once
slow_reader          asks for much and reads little
processes            the processes of the clients
"""
