-- Schema 1 of run.db. Append-only: never edit a released file, add 002_*.sql instead.
-- A NULL in a REAL column means NaN (SQLite cannot hold NaN); infinities are stored as they are.

CREATE TABLE run (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    id              TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    seed            TEXT    NOT NULL, -- u64 in decimal: it may not fit a signed integer
    steps_total     INTEGER NOT NULL,
    config_toml     TEXT    NOT NULL,
    program_version TEXT    NOT NULL,
    started_unix_s  INTEGER NOT NULL,
    state           TEXT    NOT NULL,
    message         TEXT    NOT NULL,
    updated_unix_s  INTEGER NOT NULL
) STRICT;

CREATE TABLE step (
    step             INTEGER PRIMARY KEY,
    report_json      TEXT    NOT NULL, -- the report without its metrics, which are rows of `metric`
    committed_unix_s INTEGER NOT NULL
) STRICT;

CREATE TABLE metric (
    key   TEXT    NOT NULL,
    step  INTEGER NOT NULL REFERENCES step (step) ON DELETE CASCADE,
    value REAL,
    PRIMARY KEY (key, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX metric_by_step ON metric (step);

CREATE TABLE sample (
    id          TEXT    PRIMARY KEY,
    step        INTEGER NOT NULL REFERENCES step (step) ON DELETE CASCADE,
    position    INTEGER NOT NULL, -- index within the step
    quadrant    TEXT    NOT NULL,
    label       TEXT    NOT NULL, -- 'clean' or the error type
    note        TEXT    NOT NULL, -- one 'id text' line a sentence, as the Doctor read it
    attempts    INTEGER NOT NULL,
    fallback    INTEGER NOT NULL,
    sample_json TEXT    NOT NULL
) STRICT;
CREATE INDEX sample_by_step ON sample (step, position);

CREATE TABLE rollout (
    sample_id       TEXT    NOT NULL REFERENCES sample (id) ON DELETE CASCADE,
    sibling         INTEGER NOT NULL,
    step            INTEGER NOT NULL,
    quadrant        TEXT    NOT NULL,
    cell            TEXT    NOT NULL, -- true_positive, true_negative, false_positive, false_negative, malformed
    reward          REAL,
    reward_format   REAL,
    reward_outcome  REAL,
    has_advantage   INTEGER NOT NULL, -- 0: never set; 1: `advantage` holds it, NULL being NaN
    advantage       REAL,
    stop            TEXT    NOT NULL,
    text            TEXT    NOT NULL,
    tokens          BLOB    NOT NULL, -- u32, little-endian
    logprobs        BLOB    NOT NULL, -- f32, little-endian, nats
    verdict_json    TEXT    NOT NULL,
    PRIMARY KEY (sample_id, sibling)
) STRICT;
CREATE INDEX rollout_by_step ON rollout (step, quadrant);

CREATE TABLE eval (
    step       INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    value_json TEXT    NOT NULL,
    PRIMARY KEY (step, name)
) STRICT;

CREATE TABLE event (
    id      INTEGER PRIMARY KEY,
    step    INTEGER NOT NULL,
    unix_s  INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    message TEXT    NOT NULL
) STRICT;

-- The public face for sqlite3, pandas and DuckDB users: these names stay.
CREATE VIEW v_metrics AS SELECT step, key, value FROM metric;
CREATE VIEW v_samples AS SELECT id, step, position, quadrant, label, attempts, fallback, note FROM sample;
CREATE VIEW v_rollouts AS
    SELECT r.step, r.quadrant, r.sample_id, r.sibling, s.label, r.cell, r.reward, r.reward_format, r.reward_outcome,
           r.advantage, r.stop, length(r.tokens) / 4 AS n_tokens, r.text
    FROM rollout r JOIN sample s ON s.id = r.sample_id;
