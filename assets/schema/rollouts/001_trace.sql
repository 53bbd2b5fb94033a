-- Schema 1 of rollouts.db: values of single tokens, the bulk of a run. The file may be deleted at any time, trainer stopped: the
-- run stays whole, only the token layer loses what was in it. Append-only: never edit a released file, add 002_*.sql instead.

CREATE TABLE trace (
    sample_id            TEXT    NOT NULL, -- as in rollout of run.db
    sibling              INTEGER NOT NULL,
    step                 INTEGER NOT NULL,
    policy               BLOB    NOT NULL, -- f32, little-endian, nats; one a token
    reference            BLOB    NOT NULL, -- f32, adapter off
    entropy              BLOB    NOT NULL, -- f32, nats
    advantage            BLOB    NOT NULL, -- f32, normalised
    fate                 BLOB    NOT NULL, -- a byte a token: 0 trained, 1 clipped, 2 its optimizer step was left out
    alternative_tokens   BLOB    NOT NULL, -- u32, five a token, likeliest first
    alternative_logprobs BLOB    NOT NULL, -- f32, five a token
    PRIMARY KEY (sample_id, sibling)
) STRICT;
CREATE INDEX trace_by_step ON trace (step);

-- How a token reads; only of tokens that were seen.
CREATE TABLE spelling (
    token INTEGER PRIMARY KEY,
    text  TEXT    NOT NULL
) STRICT;
