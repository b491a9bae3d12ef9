"""Node discovery v4, sans-IO: datagrams and time in, datagrams and contacts out (discv4).

udp_endpoint     an address as discovery tells it
discv4_packets   the datagrams
datagram_budget  a budget for those that cost us time
datagram_outbox  those on their way out
timers           tasks for later, of a machine without a clock
endpoint_proofs  who has shown to get datagrams at an address
told_address     our own address, as others tell it
table            the nodes that have proven their address, by distance
lookup           a search for the nodes closest to a place
questions        our questions, and the answers that we wait for
exploration      whom to ask, and when
discv4           the machine
"""
