"""A node among its peers.

link               one transport, and the peer behind it
outbox             what the peer of a link is sent, and what it leaves unread
node               the table of peers; it listens and dials
acceptor           the listening socket
dialer             connections that are kept
admission          whose socket may shake hands, and whose peer may stay
roster             who is connected, and who may be
memory             the memory that all links together may take
turns              the time that busy links have on the loop
handshake_thread   handshakes computed beside the loop
encryption_thread  long frames encrypted beside the loop
relay              live envelopes on their way to peers
filters            messages on their way to those who subscribed
keystore           keys that the node holds for its users
messages           messages made and opened
"""
