"""What clients do, one load a file, and the processes that do it.

skim       frames counted, not decrypted
channel    a blocking connection that costs its client little
sending    sends envelopes
asking     asks for history
listening  takes every envelope
idle       keeps many connections
storm      connects many times
slow       asks for much and reads little
processes  the processes of the clients
"""
