"""Several hosts with one history: a log that they share, on servers of NATS JetStream.

The envelopes of a host become confirmed once the log and its own archive have them. Every host puts
all of the log into its archive. Order, form and rules know no network:

log_message   a message of the log: a version and envelopes
log_order     the messages of the log that we have, and those that are missing
log_facts     what the log tells of itself, and what has to be true of it
log_errors    the errors of the log

The rest works on the loop of a server:

log           the connection to the log
placed        batches that move the archive's place in the log
publisher     sends our batches until the log has them
logged_store  the store that gives to the log what it is given
intake        puts messages of the log into the archive
log_reader    reads what is not our own, and asks every server for what one has left out
unread        tells for how long messages of the log wait to be read
filled_gaps   the gaps of the archive that the log has filled
member        joins the log, and watches whether all goes well

For an operator:

making         makes the stream of a log as it has to be
log_status     the state of a log and of the hosts that follow it
server_config  the configuration of the servers of a log
local_log      servers of a log on this machine
bench_log      servers of a log for the load bench
demo           a cluster on this machine, under load, of which processes are killed
"""
