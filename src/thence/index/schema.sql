-- The tables of the index. All of it is a pure function of the log entries and contents that were
-- ingested, whatever their order; it may be deleted at any time.
--
-- A change here is a new SCHEMA_VERSION in connection.py: an index of another version is rebuilt,
-- never migrated. So is a new type of record: entries are read once.
--
-- Conventions. Standard SQL that SQLite and PostgreSQL both read (hence no STRICT, whose types are
-- not PostgreSQL's). Digests are 64 hex digits: they can be searched by prefix and read by people.
-- Times are RFC 3339, UTC, microseconds, so text order is time order. A value of NULL in a metric
-- is NaN, which SQLite cannot hold. JSON is the canonical JSON of records. `artifact` is the key of
-- the name (case-folded, percent-encoded), `version` the digest of a version record.
--
-- Tables named *_edits, *_moves and *_states hold one row for each statement of a log entry and are
-- never updated; what holds now is a view on top of them, or one of the tables at the end, which
-- are computed again for whatever an ingestion touched.

-- ------------------------------------------------------------------------------------ the entries

CREATE TABLE entries (
    log TEXT NOT NULL,
    number BIGINT NOT NULL,
    digest TEXT NOT NULL,               -- of the entry's bytes
    entry_id TEXT,                      -- from here on NULL where the entry is damaged
    at TEXT,
    author TEXT,
    type TEXT,
    record TEXT,                        -- canonical JSON
    PRIMARY KEY (log, number)
);
CREATE INDEX entries_entry_id ON entries (entry_id);
-- What waits in an outbox has a number beyond this one, see model/numbers.py.
CREATE INDEX entries_waiting ON entries (log, number) WHERE number > 10000000000;
CREATE TABLE entry_problems (
    log TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,                 -- damaged, unknown, misplaced
    reason TEXT NOT NULL,
    PRIMARY KEY (log, number)
);

-- ------------------------------------------------------------------------- artifacts and versions

CREATE TABLE versions (
    artifact TEXT NOT NULL,
    number BIGINT NOT NULL,
    record TEXT NOT NULL,               -- digest; not unique: a record may be appended twice
    name TEXT NOT NULL,                 -- of the artifact, as spelled in this record
    kind TEXT NOT NULL,
    tree TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    files BIGINT NOT NULL,
    created TEXT NOT NULL,
    author TEXT NOT NULL,
    run TEXT,
    base_note TEXT,
    base_card TEXT,
    PRIMARY KEY (artifact, number)
);
CREATE INDEX versions_record ON versions (record);
CREATE INDEX versions_tree ON versions (tree);
CREATE INDEX versions_run ON versions (run) WHERE run IS NOT NULL;

CREATE TABLE version_sources (
    version TEXT NOT NULL,
    position BIGINT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (version, position)
);
CREATE INDEX version_sources_source ON version_sources (source);

CREATE TABLE version_edits (
    artifact TEXT NOT NULL,
    number BIGINT NOT NULL,             -- of the entry in the artifact's log of edits
    version TEXT NOT NULL,
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    note TEXT,
    card TEXT,
    PRIMARY KEY (artifact, number)
);
CREATE INDEX version_edits_version ON version_edits (version, number);

-- Number 0 is what the version record itself says.
CREATE TABLE version_tag_edits (
    artifact TEXT NOT NULL,
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    number BIGINT NOT NULL,
    value TEXT,                         -- NULL: removed
    PRIMARY KEY (artifact, version, name, number)
);
CREATE TABLE version_metric_edits (
    artifact TEXT NOT NULL,
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    number BIGINT NOT NULL,
    value DOUBLE PRECISION,
    PRIMARY KEY (artifact, version, name, number)
);
CREATE TABLE tombstones (               -- and restorations: the last one counts
    artifact TEXT NOT NULL,
    number BIGINT NOT NULL,
    version TEXT NOT NULL,
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    removes BIGINT NOT NULL,            -- 0 where the version is there again
    PRIMARY KEY (artifact, number)
);
CREATE INDEX tombstones_version ON tombstones (version, number);

CREATE TABLE artifact_edits (
    artifact TEXT NOT NULL,
    number BIGINT NOT NULL,
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    description TEXT,
    card TEXT,
    PRIMARY KEY (artifact, number)
);
CREATE TABLE artifact_tag_edits (
    artifact TEXT NOT NULL,
    name TEXT NOT NULL,
    number BIGINT NOT NULL,
    value TEXT,
    PRIMARY KEY (artifact, name, number)
);
CREATE TABLE alias_moves (
    artifact TEXT NOT NULL,
    alias TEXT NOT NULL COLLATE NOCASE, -- as it is spelled; spellings are one alias
    number BIGINT NOT NULL,
    version TEXT,                       -- NULL: points at nothing
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    note TEXT,
    PRIMARY KEY (artifact, alias, number)
);
CREATE INDEX alias_moves_version ON alias_moves (version) WHERE version IS NOT NULL;

-- ------------------------------------------------------------------------------------------- runs

CREATE TABLE run_states (
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    type TEXT NOT NULL,                 -- opened, sealed
    name TEXT,
    experiment TEXT,
    note TEXT,
    command TEXT NOT NULL,              -- JSON list
    root TEXT NOT NULL,
    cwd TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT,
    status TEXT NOT NULL,
    exit_code BIGINT,
    author TEXT NOT NULL,
    host TEXT NOT NULL,
    python TEXT,
    code_commit TEXT,
    dirty BIGINT,                       -- 0, 1
    sensor TEXT,
    completeness TEXT,
    inputs_count BIGINT,
    outputs_count BIGINT,
    files TEXT,                         -- content digest of the list of file uses
    series TEXT,                        -- content digest of the metric points
    PRIMARY KEY (run, number)
);
CREATE INDEX run_states_files ON run_states (files) WHERE files IS NOT NULL;
CREATE INDEX run_states_series ON run_states (series) WHERE series IS NOT NULL;
CREATE TABLE run_edits (
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    note TEXT,
    PRIMARY KEY (run, number)
);
CREATE TABLE run_tombstones (           -- and restorations: the last one counts
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    removes BIGINT NOT NULL,            -- 0 where the run is there again
    PRIMARY KEY (run, number)
);
CREATE TABLE run_tag_edits (
    run TEXT NOT NULL,
    name TEXT NOT NULL,
    layer BIGINT NOT NULL,              -- 0 opened, 1 sealed, 2 edited: an edit outlives the seal
    number BIGINT NOT NULL,
    value TEXT,
    PRIMARY KEY (run, name, layer, number)
);
CREATE TABLE sealed_params (
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,                -- JSON
    amount DOUBLE PRECISION,            -- the value where it is a number
    origin TEXT NOT NULL,
    PRIMARY KEY (run, number, name)
);
CREATE INDEX sealed_params_name ON sealed_params (name, amount);
CREATE TABLE sealed_metrics (
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT NOT NULL,
    value DOUBLE PRECISION,
    PRIMARY KEY (run, number, name)
);
CREATE INDEX sealed_metrics_name ON sealed_metrics (name, value);
CREATE TABLE sealed_versions (
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    role TEXT NOT NULL,                 -- uses, makes
    position BIGINT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (run, number, role, position)
);
CREATE INDEX sealed_versions_version ON sealed_versions (version);

CREATE TABLE verdicts (
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    finding TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT NOT NULL,
    author TEXT NOT NULL,
    host TEXT NOT NULL,
    results BIGINT NOT NULL,            -- how many were compared
    reasons TEXT NOT NULL,              -- JSON list
    PRIMARY KEY (run, number)
);

-- ------------------------------------------------------------------------------- what was erased

CREATE TABLE erasures (
    number BIGINT NOT NULL PRIMARY KEY, -- of the entry in the log of erasures
    at TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE erasure_contents (         -- and what was lifted: the last one counts
    number BIGINT NOT NULL,
    position BIGINT NOT NULL,
    digest TEXT NOT NULL,
    erases BIGINT NOT NULL,             -- 0 where it may be kept again
    PRIMARY KEY (number, position)
);
CREATE INDEX erasure_contents_digest ON erasure_contents (digest, number);

-- ------------------------------------------------------------------------------ contents of records

-- Contents that records refer to, named by their digest: two runs with the same files share them.
CREATE TABLE contents (
    role TEXT NOT NULL,                 -- files, series
    digest TEXT NOT NULL,
    items BIGINT NOT NULL,
    problem TEXT,                       -- why it could not be read; NULL where it could
    PRIMARY KEY (role, digest)
);
CREATE INDEX contents_problem ON contents (role, digest) WHERE problem IS NOT NULL;
CREATE TABLE listed_files (
    files TEXT NOT NULL,
    position BIGINT NOT NULL,
    path TEXT NOT NULL,
    percent BIGINT NOT NULL,            -- 1 where the path is percent-encoded
    role TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    digest TEXT,
    why_not_kept TEXT,
    executable BIGINT NOT NULL,
    redacted BIGINT NOT NULL,
    changed_during_run BIGINT NOT NULL,
    version TEXT,
    package TEXT,
    PRIMARY KEY (files, position)
);
CREATE INDEX listed_files_digest ON listed_files (digest) WHERE digest IS NOT NULL;
CREATE TABLE metric_points (
    series TEXT NOT NULL,
    name TEXT NOT NULL,
    position BIGINT NOT NULL,
    step BIGINT,
    at TEXT,
    value DOUBLE PRECISION,
    PRIMARY KEY (series, name, position)
);

-- ----------------------------------------------------------- computed again for whatever is touched

CREATE TABLE logs (
    log TEXT NOT NULL PRIMARY KEY,
    through BIGINT NOT NULL,            -- entries 1 to this one are all here
    last BIGINT NOT NULL                -- the highest one that is here, but for what waits
);
CREATE INDEX logs_gaps ON logs (log) WHERE through < last;
CREATE TABLE artifacts (
    artifact TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,                 -- as spelled first
    kind TEXT NOT NULL,
    description TEXT,
    card TEXT,
    created TEXT NOT NULL,
    changed TEXT NOT NULL,
    latest BIGINT,                      -- NULL where all versions are deleted
    versions BIGINT NOT NULL,
    deleted BIGINT NOT NULL
);
CREATE INDEX artifacts_kind ON artifacts (kind, artifact);
CREATE TABLE runs (
    run TEXT NOT NULL PRIMARY KEY,
    opened BIGINT,                      -- numbers of the entries that count
    sealed BIGINT,
    name TEXT,
    experiment TEXT,
    note TEXT,
    command TEXT NOT NULL,
    root TEXT NOT NULL,
    cwd TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT,
    status TEXT NOT NULL,
    exit_code BIGINT,
    author TEXT NOT NULL,
    host TEXT NOT NULL,
    python TEXT,
    code_commit TEXT,
    dirty BIGINT,
    sensor TEXT,
    completeness TEXT,
    inputs_count BIGINT,
    outputs_count BIGINT,
    files TEXT,
    series TEXT,
    finding TEXT,                       -- of the last verdict
    tombstone BIGINT                    -- number of its entry, NULL where the run is not removed
);
CREATE INDEX runs_started ON runs (started, run);
CREATE INDEX runs_experiment ON runs (experiment, started) WHERE experiment IS NOT NULL;
CREATE INDEX runs_status ON runs (status, started);
CREATE INDEX runs_files ON runs (files) WHERE files IS NOT NULL;

CREATE TABLE missing_contents (
    role TEXT NOT NULL,
    digest TEXT NOT NULL,               -- referred to by a run and never given to the index
    PRIMARY KEY (role, digest)
);

-- Not a function of the entries: how far `refresh` has come.
CREATE TABLE bookkeeping (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE outbox (                   -- objects of the outbox that need not be read again
    log TEXT NOT NULL,
    number BIGINT NOT NULL,
    modified_s DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (log, number)
);
CREATE TABLE segments (                 -- checkpoints whose entries are all here
    name TEXT NOT NULL PRIMARY KEY,
    after TEXT,                         -- NULL: from the beginning
    through TEXT NOT NULL
);
CREATE TABLE coverage (                 -- what is in those checkpoints
    log TEXT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);
CREATE TABLE hints (                    -- objects of the journal that need not be read again
    hint TEXT NOT NULL PRIMARY KEY,     -- the key
    pending TEXT                        -- its lines whose entries are not here; NULL where all are
);

-- ---------------------------------------------------------------------------------- what holds now

CREATE VIEW version_tags AS
SELECT edit.artifact, edit.version, edit.name, edit.value
FROM version_tag_edits AS edit
WHERE edit.value IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM version_tag_edits AS later
    WHERE later.artifact = edit.artifact AND later.version = edit.version
        AND later.name = edit.name AND later.number > edit.number
);
CREATE VIEW version_metrics AS
SELECT edit.artifact, edit.version, edit.name, edit.value
FROM version_metric_edits AS edit
WHERE NOT EXISTS (
    SELECT 1 FROM version_metric_edits AS later
    WHERE later.artifact = edit.artifact AND later.version = edit.version
        AND later.name = edit.name AND later.number > edit.number
);
CREATE VIEW artifact_tags AS
SELECT edit.artifact, edit.name, edit.value
FROM artifact_tag_edits AS edit
WHERE edit.value IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM artifact_tag_edits AS later
    WHERE later.artifact = edit.artifact AND later.name = edit.name
        AND later.number > edit.number
);
CREATE VIEW aliases AS
SELECT move.artifact, move.alias, move.number, move.version, move.at, move.author, move.note
FROM alias_moves AS move
WHERE move.version IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM alias_moves AS later
    WHERE later.artifact = move.artifact AND later.alias = move.alias
        AND later.number > move.number
);
-- `tombstone` is the number of the first one that was not undone, NULL where there is none.
CREATE VIEW current_versions AS
SELECT
    version.artifact, version.number, version.record, version.name, version.kind, version.tree,
    version.size_bytes, version.files, version.created, version.author, version.run,
    COALESCE((
        SELECT edit.note FROM version_edits AS edit
        WHERE edit.version = version.record AND edit.artifact = version.artifact
            AND edit.note IS NOT NULL
        ORDER BY edit.number DESC LIMIT 1
    ), version.base_note) AS note,
    COALESCE((
        SELECT edit.card FROM version_edits AS edit
        WHERE edit.version = version.record AND edit.artifact = version.artifact
            AND edit.card IS NOT NULL
        ORDER BY edit.number DESC LIMIT 1
    ), version.base_card) AS card,
    (
        SELECT MIN(stone.number) FROM tombstones AS stone
        WHERE stone.version = version.record AND stone.artifact = version.artifact
            AND stone.removes = 1 AND NOT EXISTS (
                SELECT 1 FROM tombstones AS later
                WHERE later.version = stone.version AND later.artifact = stone.artifact
                    AND later.removes = 0 AND later.number > stone.number
            )
    ) AS tombstone
FROM versions AS version;
CREATE VIEW erased AS
SELECT listed.digest, listed.number, erasure.at, erasure.author, erasure.reason
FROM erasure_contents AS listed JOIN erasures AS erasure ON erasure.number = listed.number
WHERE listed.erases = 1 AND NOT EXISTS (
    SELECT 1 FROM erasure_contents AS later
    WHERE later.digest = listed.digest AND (
        later.number > listed.number
        OR (later.number = listed.number AND later.position > listed.position)
    )
);
CREATE VIEW run_tags AS
SELECT edit.run, edit.name, edit.value
FROM run_tag_edits AS edit
WHERE edit.value IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM run_tag_edits AS later
    WHERE later.run = edit.run AND later.name = edit.name AND (
        later.layer > edit.layer OR (later.layer = edit.layer AND later.number > edit.number)
    )
);
CREATE VIEW run_params AS
SELECT sealed.run, sealed.name, sealed.value, sealed.amount, sealed.origin
FROM sealed_params AS sealed
JOIN runs ON runs.run = sealed.run AND runs.sealed = sealed.number;
CREATE VIEW run_metrics AS
SELECT sealed.run, sealed.name, sealed.value
FROM sealed_metrics AS sealed
JOIN runs ON runs.run = sealed.run AND runs.sealed = sealed.number;
CREATE VIEW run_versions AS
SELECT sealed.run, sealed.role, sealed.position, sealed.version
FROM sealed_versions AS sealed
JOIN runs ON runs.run = sealed.run AND runs.sealed = sealed.number;
-- Without the sources that the run which made the version used: they are reached through the run.
CREATE VIEW direct_sources AS
SELECT link.version, link.source
FROM version_sources AS link
WHERE NOT EXISTS (
    SELECT 1 FROM versions AS made
    JOIN run_versions AS used ON used.run = made.run
    WHERE made.record = link.version AND used.role = 'uses' AND used.version = link.source
) AND NOT EXISTS (
    SELECT 1 FROM run_versions AS made
    JOIN run_versions AS used ON used.run = made.run
    WHERE made.version = link.version AND made.role = 'makes'
        AND used.role = 'uses' AND used.version = link.source
);
CREATE VIEW run_files AS
SELECT
    runs.run, listed.position, listed.path, listed.percent, listed.role, listed.size_bytes,
    listed.digest, listed.why_not_kept, listed.executable, listed.redacted,
    listed.changed_during_run, listed.version, listed.package
FROM runs JOIN listed_files AS listed ON listed.files = runs.files;
CREATE VIEW problems AS
SELECT kind, log, number, reason FROM entry_problems
UNION ALL
SELECT
    'gap', log, through + 1,
    'The log has an entry ' || last || ' but no entry ' || (through + 1) || '.'
FROM logs WHERE through < last
UNION ALL
SELECT
    'missing', 'refs/runs/' || state.run, state.number,
    'The content sha256:' || missing.digest || ' (files) is missing or damaged.'
FROM missing_contents AS missing JOIN run_states AS state ON state.files = missing.digest
JOIN runs ON runs.run = state.run AND runs.tombstone IS NULL
WHERE missing.role = 'files'
UNION ALL
SELECT
    'missing', 'refs/runs/' || state.run, state.number,
    'The content sha256:' || missing.digest || ' (series) is missing or damaged.'
FROM missing_contents AS missing JOIN run_states AS state ON state.series = missing.digest
JOIN runs ON runs.run = state.run AND runs.tombstone IS NULL
WHERE missing.role = 'series'
UNION ALL
SELECT
    'damaged', 'refs/runs/' || state.run, state.number,
    'The content sha256:' || contents.digest || ' (files) cannot be read: ' || contents.problem
FROM contents JOIN run_states AS state ON state.files = contents.digest
WHERE contents.role = 'files' AND contents.problem IS NOT NULL
UNION ALL
SELECT
    'damaged', 'refs/runs/' || state.run, state.number,
    'The content sha256:' || contents.digest || ' (series) cannot be read: ' || contents.problem
FROM contents JOIN run_states AS state ON state.series = contents.digest
WHERE contents.role = 'series' AND contents.problem IS NOT NULL;
