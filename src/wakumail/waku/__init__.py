"""Waku v1 on the wire. Sans-IO: bytes and time in, bytes and events out.

bloom          blooms of topics (compiled)
interest       the topics that a node wants, as a bloom or a list (compiled)
pow            proof of work (compiled)
envelope       envelopes, and a packet of them read in one pass (compiled)
fetched        envelopes fetched from another archive, judged (compiled)
judgements     hashes and PoW that the workers share (compiled)
pool           live envelopes, and which peer has which (compiled)
packets        packet codes, and statuses in waku/0 and waku/1
whisper        the same of Whisper 6
confirmations  Batch Ack and Message Response packets
completion     Request Complete packets, and cursors
topic_limiter  our limits for each topic of a peer (compiled)
rate_limits    our limits for peers, and the limits of peers for us
own_status     the status that we send
status_news    the changes of it that a peer was not told yet
peer_events    the events of a peer
allowance      the packets that a peer may send unasked
peer           one peer: its packets, in their order, become events
message        messages sealed into envelopes and opened
waku2_message  envelopes as messages of Waku 2
topics         topics that Status clients derive from names and keys
"""
