"""What is sent, and what is asked for.

archived_traffic  what an archive is filled with
live_traffic      envelopes for senders
request_kinds     requests for history
"""
