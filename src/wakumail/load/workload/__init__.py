"""What is sent, and what is asked for.

traffic   what an archive is filled with
live      envelopes for senders
requests  requests for history
"""
