"""Envelopes on disk.

archive             the LMDB file, its rows and its queries (compiled)
results             the types of its results
store               an archive behind one event loop: envelopes put, and reported once on disk
stored_envelopes    envelopes as they lie in it, parsed
arrivals            those of a whole archive in the order of arrival, sound ones alone
page_reader         the pages of answers, read beside the loop, or on it if they are small
branch_pages        the branch pages of the indexes, read when a store starts
commit_queue        the batches that wait for their commit
writer_thread       the thread that commits them, and its rhythm
durability          the delay of the commits, which the operator chooses
retention           the bounds of an archive, and when it is pruned to keep them
day_sorting         when days that are over are sorted by topic
outlook             the room that the file has, and when that is used up
gaps                ranges of time of which envelopes are missing, kept in a file
datadir             the files of a data directory, and its locks
backup              a copy of an archive, brought up to date by each later backup
dump                dumps: envelope RLPs, one after the other
leveldb_files       the files of a LevelDB, checked for what it leaves out without a word
statusgo_storage    reads what a status-go mailserver stored
meta_pages          the meta pages of the file, checked without LMDB
page_check          the pages of the file, checked without LMDB
independent         a second opinion on an archive, from a program of its own
independent_reader  that program, which shares no code with what wrote the archive
"""
