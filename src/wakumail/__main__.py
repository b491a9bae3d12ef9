"""`python -m wakumail`: the same as the `wakumail` command."""

import sys

from wakumail.cli.command_line import main

sys.exit(main())
