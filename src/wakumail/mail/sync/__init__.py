"""Two archives that agree: what each lacks is found, then fetched.

Reconciliation is negentropy, protocol v1; it knows no network, no clock and no file.

items           the sorted items of one side, as reconciliation asks for them
id_set          sets of ids (compiled)
item_set        items held in memory (compiled)
message_reader  a message, checked and read (compiled)
message_writer  a message, written (compiled)
message_errors  the reasons for which a message is refused
reply           a message in the making, on either side
initiator       the side that begins, and learns how both sides differ
responder       the side that answers

The capability `wakusync` carries it, and the envelopes.

sync_config     the settings of sync
packets         the packets, encoded and decoded
packed          packed items and ids: cut into packets, and chosen by their times
remembered      ids that were refused, or that a peer is known to have
tally           the numbers of one peer
report          a round and a tally as JSON
window          the creation times for which both sides are made equal
desk            all that is asked of the archive, in threads
wire            the packets of a session on a link
giver           sends the envelopes that a peer wants
taker           wants envelopes, judges them and stores them
offers          telling a peer of our items, and taking what it tells us of
follower        tells a peer what arrives here
side            our side, the same for every peer
agreement       what both sides sync, and when they last had the same
outcome         the outcome of a round
mover           moves what a round finds, while the round goes on
round           one round: what differs is found, then moved
driver          makes our rounds with a peer
debts           what a peer owes us, and for how long
respondent      answers the rounds that a peer opens
session         one connection to a peer that we sync with
partners        the peers that we sync with, connected or not
"""
