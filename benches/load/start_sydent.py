"""Starts a Sydent on a current SQLite."""

import sys

import pysqlite3

sys.modules["sqlite3"] = pysqlite3

from sydent.sydent import main  # noqa: E402  (it has to find that SQLite)

main()
