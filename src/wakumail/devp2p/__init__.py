"""RLPx, and the first packets of Ethereum peers. Sans-IO: bytes and time in, bytes and events out.

keys               secp256k1 keys, node ids, signatures
ecies              encryption for a public key
addresses          addresses and names of hosts, and how far an address reaches
enr                node records: what a node says of itself, signed
enode              a node as a person names it: by enode URL or node record
dns_tree           lists of nodes in the DNS: signed trees of texts, made and verified
dns_list           a list as a client reads it: what it asks next, and what it leaves out
handshake          the two packets that make the keys of a connection, as bytes arrive
frame_reader       frames checked and decrypted (compiled)
frame_writer       frames encrypted (compiled)
packets            hello, disconnect, and the message ids of each capability
connection_events  the events of a connection
connection         one RLPx connection, from its first byte to its last
discovery          node discovery v4: to be found, and to find
"""
