"""History, asked for and answered.

request      a request for history: its fields, and why it is refused
forms        the seven forms of a request
history      requests answered from the archive
server       the whole mailserver
answer       the answer to one request, checked
client       a connection to one mailserver
posting      envelopes sent, and their confirmations
mailservers  several mailservers as one
requester    history asked for by a node, on behalf of its users
"""
