-- The world at rest. One row per changed block, light and sign, filed under the chunk (p, q) that it lies in;
-- a missing row is generated terrain. rev is the cell's revision at the row's last change: writes never lower it.

CREATE TABLE world (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1), -- there is one world in a file
    cell_chunks INTEGER NOT NULL,                      -- chunks along a cell's side: a constant of the world
    seed INTEGER NOT NULL DEFAULT 0                    -- of the terrain; the Craft client knows only 0
) STRICT;

-- The fence: whoever writes rows of a cell updates this first, where epoch <= his own.
CREATE TABLE cell (
    i INTEGER NOT NULL,
    j INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    rev INTEGER NOT NULL DEFAULT 0,
    key_floor INTEGER NOT NULL DEFAULT 0,
    clean INTEGER NOT NULL DEFAULT 0, -- released: the journal holds nothing that is not here
    seen BLOB NOT NULL DEFAULT x'',   -- the last edit of each session that edited here lately
    PRIMARY KEY (i, j)
) STRICT, WITHOUT ROWID;

CREATE TABLE block (
    p INTEGER NOT NULL,
    q INTEGER NOT NULL,
    x INTEGER NOT NULL,
    y INTEGER NOT NULL,
    z INTEGER NOT NULL,
    w INTEGER NOT NULL,
    key INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    PRIMARY KEY (p, q, x, y, z)
) STRICT, WITHOUT ROWID;

CREATE TABLE light (
    p INTEGER NOT NULL,
    q INTEGER NOT NULL,
    x INTEGER NOT NULL,
    y INTEGER NOT NULL,
    z INTEGER NOT NULL,
    w INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    PRIMARY KEY (p, q, x, y, z)
) STRICT, WITHOUT ROWID;

CREATE TABLE sign (
    p INTEGER NOT NULL,
    q INTEGER NOT NULL,
    x INTEGER NOT NULL,
    y INTEGER NOT NULL,
    z INTEGER NOT NULL,
    face INTEGER NOT NULL,
    text TEXT NOT NULL, -- '': removed
    rev INTEGER NOT NULL,
    PRIMARY KEY (p, q, x, y, z, face)
) STRICT, WITHOUT ROWID;

-- Where players were last. No place yet: x is null. A later (visit, count) wins.
CREATE TABLE player (
    account TEXT NOT NULL PRIMARY KEY,
    visit INTEGER NOT NULL,
    count INTEGER NOT NULL,
    x REAL,
    y REAL,
    z REAL,
    rx REAL,
    ry REAL
) STRICT, WITHOUT ROWID;
