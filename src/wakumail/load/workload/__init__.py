"""The envelopes that are sent, and the requests.

archived_traffic  the envelopes in an archive
live_traffic      the envelopes of senders
request_kinds     the requests for history
packet_inputs     the worst packets of each code
rpc_inputs        the worst calls of each method
store_inputs      the worst requests for history over HTTP
"""
