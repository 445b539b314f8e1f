"""The tables of a knowledge base. No queries, no connections: only what lies where.

A chunk's number is never used again, and its text and vector never change: another text or vector has another number.
So a copy of the vectors that has seen everything up to a generation needs only the higher numbers, and those that were
removed since. Only `reindex` gives old numbers new vectors; it raises `base.trimmed`, and every copy is read anew.

FTS5 keeps its index only: the words themselves it reads from `chunks`.
"""

APPLICATION_ID = 0x50485242  # "PHRB"
SCHEMA_VERSION = 1

BASE_FILE, INDEX_FILE, LOCK_FILE = "base.sqlite3", "index.faiss", "index.lock"

TABLES = (
    # One row. `generation` grows with every change; `removed` is complete for generations above `trimmed`.
    "CREATE TABLE base (generation INTEGER NOT NULL, trimmed INTEGER NOT NULL, total INTEGER NOT NULL)",
    "INSERT INTO base VALUES (0, 0, 0)",
    # The embedding model in force, and the one to which `reindex` is changing. `probe`: its vector for PROBE_TEXT.
    """CREATE TABLE models (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        role TEXT NOT NULL UNIQUE CHECK (role IN ('current', 'next')),
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        probe BLOB NOT NULL
    )""",
    # Which index.faiss belongs to this file. No row: none does.
    "CREATE TABLE snapshot (generation INTEGER NOT NULL, bytes INTEGER NOT NULL, crc INTEGER NOT NULL)",
    """CREATE TABLE documents (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        source TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        kind TEXT NOT NULL,
        hash TEXT NOT NULL,      -- of the file's bytes or the text
        recipe TEXT NOT NULL,    -- how it was cut, and its metadata: another one is another content
        size INTEGER NOT NULL,   -- bytes of a file, else -1
        modified INTEGER NOT NULL, -- nanoseconds, of a file whose change would show in it; else -1
        added_at TEXT NOT NULL,
        crc INTEGER NOT NULL     -- of what is given out
    )""",
    """CREATE TABLE chunks (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        document INTEGER REFERENCES documents(number) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        heading TEXT NOT NULL,
        page INTEGER,
        lead TEXT NOT NULL,      -- what is embedded and searched before the text: title and heading
        text TEXT NOT NULL,
        hash TEXT NOT NULL,      -- of lead and text: equal hashes, equal vectors
        metadata TEXT NOT NULL,  -- JSON, what the adder gave
        crc INTEGER NOT NULL     -- of what is given out
    )""",
    "CREATE INDEX chunks_of_document ON chunks (document, position)",
    "CREATE INDEX chunks_by_hash ON chunks (hash)",
    # The chunk's metadata once more, one row for each value: what filters read. No type, so that nothing is converted.
    "CREATE TABLE facts (chunk INTEGER NOT NULL REFERENCES chunks(number) ON DELETE CASCADE, key TEXT NOT NULL, value)",
    "CREATE INDEX facts_by_value ON facts (key, value, chunk)",
    "CREATE INDEX facts_of_chunk ON facts (chunk)",
    """CREATE TABLE vectors (
        chunk INTEGER PRIMARY KEY REFERENCES chunks(number) ON DELETE CASCADE,
        vector BLOB NOT NULL,    -- float32, little endian, length 1 (or all 0)
        crc INTEGER NOT NULL     -- of number and vector
    )""",
    """CREATE TABLE pending (
        chunk INTEGER PRIMARY KEY REFERENCES chunks(number) ON DELETE CASCADE,
        vector BLOB NOT NULL,
        crc INTEGER NOT NULL
    )""",
    "CREATE TABLE removed (generation INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (generation, number)) "
    "WITHOUT ROWID",
    "CREATE VIRTUAL TABLE words USING fts5(lead, text, content='chunks', content_rowid='number', "
    "tokenize='porter unicode61')",
    """CREATE TRIGGER chunk_added AFTER INSERT ON chunks BEGIN
        INSERT INTO words(rowid, lead, text) VALUES (new.number, new.lead, new.text);
    END""",
    """CREATE TRIGGER chunk_removed AFTER DELETE ON chunks BEGIN
        INSERT INTO words(words, rowid, lead, text) VALUES ('delete', old.number, old.lead, old.text);
    END""",
    "CREATE TRIGGER vector_added AFTER INSERT ON vectors BEGIN UPDATE base SET total = total + 1; END",
    """CREATE TRIGGER vector_removed AFTER DELETE ON vectors BEGIN
        UPDATE base SET total = total - 1;
        INSERT INTO removed SELECT generation, old.chunk FROM base;
    END""",
)
