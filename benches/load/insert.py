"""How many rows SQLite takes with a commit for each: `insert.py FILE SECONDS`."""

import sqlite3
import sys
import time

file, seconds = sys.argv[1], float(sys.argv[2])
database = sqlite3.connect(file, isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE IF NOT EXISTS bound (address TEXT PRIMARY KEY, mxid TEXT)")
database.execute("DELETE FROM bound")
end, count = time.monotonic() + seconds, 0
while time.monotonic() < end:
    row = (f"user{count}@example.org", "@user:example.org")
    database.execute("INSERT INTO bound VALUES (?, ?)", row)
    count += 1
print(count / seconds)
