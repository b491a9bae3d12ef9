"""The `wakumail` command.

Results go to stdout (one JSON object with --json), everything else to stderr. Exit codes: 0 done,
1 failed, 2 wrong usage.

    command_line      reads the command line and runs one command
    serve             runs a server
    attach            calls the API of a running node
    config            shows the settings, checks a file, imports those of a status-go node
    request           asks for history
    history_listing   counts and lists what came
    merge_report      tells which mailserver lacks what
    post              sends envelopes
    canary            checks a mailserver
    sync              makes an archive and that of another server equal
    cluster           makes and looks at a cluster, and shows what it withstands
    archive           inspects and maintains an archive
    passes            verifies and copies a whole one, with a progress bar
    transfer          its import and export
    archive_backup    its backup and restore
    archive_merge     the envelopes of several archives in one
    time_to_come      tells of envelopes that are of a time to come
    browse            shows an archive in a browser
    key               makes a node key, shows its node id or a record
    dns               signs and verifies lists of nodes for the DNS
    list_check        a list of nodes as clients read it
    tree_file         a list of nodes in files
    bench             loads a mailserver and measures it
    interruption      signals that end a command, after it has cleared up
    examples          the examples at the end of each command's help
    help              the look of the help: its usage, its lines, its colours on a terminal
    setting_groups    the settings in groups, for the help
    options           options that several commands have, and progress bars
    peer_options      those of the commands that talk to a mailserver
    message_keys      the keys that open messages, as options name them
    named_files       files that options name
    json_lines        envelopes as lines of JSON, for tools that read tables
    printing          envelopes and messages as lines and as JSON
    standard_streams  makes streams safe that are closed at the start, or lose their reader
"""
