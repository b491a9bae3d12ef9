"""A node among its peers.

link               one transport, and the peer behind it
outbox             packets on their way to the peer of a link
node               listens, dials, and has the parts that its links share
acceptor           the listening socket
dialer             connections that are kept
dns_resolver       TXT records from the DNS
dns_lists          node records from lists in the DNS
admission          which sockets may shake hands, and which peers may stay
roster             the peers that are connected, at all workers
memory             the memory that all links together may take
turns              the time that busy links have on the loop
handshake_thread   handshakes computed beside the loop
encryption_thread  long frames encrypted beside the loop
relay              live envelopes on their way to peers
filters            messages on their way to subscribers
node_key           the file of a node key, read or made
keystore           keys that the node holds for its users
messages           messages made and opened
"""
