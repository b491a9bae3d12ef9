"""The APIs: JSON-RPC 2.0 (9/WAKU-RPC), its methods and transports, and history over HTTP.

jsonrpc     calls and answers
params      parameters of calls
objects     filters and messages as JSON
namespaces  the namespaces of the methods
methods     the methods, a file for each group of names
api         all methods as one table
access      the checks of callers over TCP
splitter    JSON values cut out of a stream
stream      a caller on a connection
caller_slots  the connections of a listener: the longest idle one makes room
paced_connection  bytes handed on in pieces, in turn with those of other connections
bounded_server  the server of an HTTP address
ipc         the Unix socket
http        HTTP and WebSocket
rest        history over HTTP, as the network's successor reads it
client      the caller's end of the Unix socket, and calls over any wire
url_client  the caller's end of HTTP and WebSocket
"""
