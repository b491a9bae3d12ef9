"""The envelopes that are sent, and the requests.

archived_traffic  the envelopes in an archive
live_traffic      the envelopes of senders
request_kinds     the requests for history
"""
