-- Schema 2 of run.db: every part of a reward in a column of its own. Rollouts of schema 1 had two parts; the others were not paid.
-- As everywhere, a NULL means NaN.

ALTER TABLE rollout ADD COLUMN reward_location   REAL DEFAULT 0.0;
ALTER TABLE rollout ADD COLUMN reward_correction REAL DEFAULT 0.0;
ALTER TABLE rollout ADD COLUMN reward_pair       REAL DEFAULT 0.0;
ALTER TABLE rollout ADD COLUMN reward_wrong_type REAL DEFAULT 0.0;
ALTER TABLE rollout ADD COLUMN reward_overlong   REAL DEFAULT 0.0;

DROP VIEW v_rollouts;
CREATE VIEW v_rollouts AS
    SELECT r.step, r.quadrant, r.sample_id, r.sibling, s.label, r.cell, r.reward, r.reward_format, r.reward_outcome,
           r.reward_location, r.reward_correction, r.reward_pair, r.reward_wrong_type, r.reward_overlong,
           r.advantage, r.stop, length(r.tokens) / 4 AS n_tokens, r.text
    FROM rollout r JOIN sample s ON s.id = r.sample_id;
