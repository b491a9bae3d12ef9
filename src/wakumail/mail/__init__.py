"""History, asked for and answered.

request             a request for history: its seven forms, its fields, and why it is refused
history             requests answered from the archive
server              the whole mailserver
confirmation_queue  confirmations, within the rate limits of the peers
answer              the answer to one request, checked
history_progress    the pages of one history, which have to bring enough that is new
client              a connection to one mailserver
posting             envelopes sent, and their confirmations
merged_history      the histories of several mailservers, put together
mailservers         several mailservers as one
listed_mailservers  mailservers from lists in the DNS
requester           history asked for by a node, on behalf of its users
sync                two archives that agree
"""
