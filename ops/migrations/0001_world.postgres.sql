-- The world at rest. One row per changed block, light and sign, filed under the chunk (p, q) that it lies in;
-- a missing row is generated terrain. rev is the cell's revision at the row's last change: writes never lower it.

CREATE TABLE world (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), -- there is one world in a database
    cell_chunks integer NOT NULL,                     -- chunks along a cell's side: a constant of the world
    seed bigint NOT NULL DEFAULT 0                    -- of the terrain; the Craft client knows only 0
);

-- The fence: whoever writes rows of a cell updates this first, where epoch <= his own.
CREATE TABLE cell (
    i integer NOT NULL,
    j integer NOT NULL,
    epoch bigint NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    rev bigint NOT NULL DEFAULT 0,
    key_floor integer NOT NULL DEFAULT 0,
    clean boolean NOT NULL DEFAULT false, -- released: the journal holds nothing that is not here
    seen bytea NOT NULL DEFAULT '',       -- the last edit of each session that edited here lately
    PRIMARY KEY (i, j)
);

CREATE TABLE block (
    p integer NOT NULL,
    q integer NOT NULL,
    x integer NOT NULL,
    y integer NOT NULL,
    z integer NOT NULL,
    w smallint NOT NULL,
    key integer NOT NULL,
    rev bigint NOT NULL,
    PRIMARY KEY (p, q, x, y, z)
);

CREATE TABLE light (
    p integer NOT NULL,
    q integer NOT NULL,
    x integer NOT NULL,
    y integer NOT NULL,
    z integer NOT NULL,
    w smallint NOT NULL,
    rev bigint NOT NULL,
    PRIMARY KEY (p, q, x, y, z)
);

CREATE TABLE sign (
    p integer NOT NULL,
    q integer NOT NULL,
    x integer NOT NULL,
    y integer NOT NULL,
    z integer NOT NULL,
    face smallint NOT NULL,
    text text NOT NULL, -- '': removed
    rev bigint NOT NULL,
    PRIMARY KEY (p, q, x, y, z, face)
);

-- Where players were last. No place yet: x is null. A later (visit, count) wins.
CREATE TABLE player (
    account text COLLATE "C" PRIMARY KEY,
    visit bigint NOT NULL,
    count bigint NOT NULL,
    x real,
    y real,
    z real,
    rx real,
    ry real
);
