"""Tools that the other rooms build on. Nothing here knows a protocol.

rlp           RLP, encoded and decoded (compiled)
keccak        Keccak-256, one message or several at once (compiled)
snappy        Snappy blocks (compiled)
jobs          threads for compiled work, which never take the GIL (compiled)
threads       threads that work for one event loop
tasks         tasks that have to end
held_signals  signals that wait until something is done
main_task     a coroutine as the work of a whole command, which signals end
transports    what several protocols do with their transports
turns         the time that those who are busy have in a round of the loop
histograms    durations and sizes, counted in buckets
token_bucket  rate limits, for one thing or for each of many
edited_file   files that a person edits: settings, lists, secrets
edited_list   JSON lists that a person edits
whole_file    files that are written as a whole
naming        the name of the file that an error is about
regular_file  files that have to be regular ones
free_ports    ports for servers that are told theirs before they start
json_text     strict JSON with a bound on its nesting
text          texts for people: those of peers made safe, numbers with their nouns, sizes, times
colours       colours of text on a terminal
"""
