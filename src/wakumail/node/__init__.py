"""A node among its peers.

link               one transport, and the peer behind it
outbox             packets on their way to the peer of a link
node               listens, dials, and has the parts that its links share
acceptor           the listening socket
dialer             connections that are kept
dns_answer         an answer of a name server, made cheap before it is parsed
dns_resolver       TXT records from the DNS
dns_socket         the sockets with which they are asked for
dns_lists          node records from lists in the DNS
listed_nodes       the nodes of those lists, as candidates
seq_file           the sequence numbers of those lists
asked_records      node records, asked for from the nodes themselves
admission          which sockets may shake hands, and which peers may stay
roster             the peers that are connected, at all workers
memory             the memory that all links together may take
handshake_thread   handshakes computed beside the loop
encryption_thread  long frames encrypted beside the loop
relay              live envelopes on their way to peers
filters            messages on their way to subscribers
peer_finder        peers that nobody has named, dialed until there are enough
discovery          the UDP socket and the clock of node discovery
contacts_file      the nodes that discovery knew when the server stopped
presence           the address and the record under which others find the node
own_record         our node record, whose number survives restarts
gateway            a router that can pass on ports
nat_pmp            NAT-PMP
upnp               UPnP
ssdp               the search for a router that speaks it
router_requester   its HTTP requests, whose answers have bounds
twin               asks if another node runs with our node key
node_key           the file of a node key, read or made
keystore           keys that the node holds for its users
messages           messages made and opened
"""
