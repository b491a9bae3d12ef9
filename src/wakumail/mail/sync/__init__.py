"""Two archives that agree: what each lacks is found, then fetched.

Reconciliation is negentropy, protocol v1; it knows no network, no clock and no file.

items           the sorted items of one side, as reconciliation asks for them
item_set        items held in memory (compiled)
message_reader  a message, checked and read (compiled)
message_writer  a message, written (compiled)
message_errors  the reasons for which a message is refused
reply           a message in the making, on either side
initiator       the side that begins, and learns how both sides differ
responder       the side that answers
"""
