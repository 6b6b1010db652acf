-- Schema 1: the values. Keys are ordered by bytes; what is in `value` is what was put, byte by byte.
CREATE TABLE fusion_store (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id uuid NOT NULL
);
CREATE SEQUENCE fusion_version AS bigint;
CREATE TABLE fusion_state (
    space text NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    version bigint NOT NULL,
    expires_at bigint,
    PRIMARY KEY (space, key)
);
-- Values are JSON and change often: compressing them costs more than it gives.
ALTER TABLE fusion_state ALTER COLUMN value SET STORAGE EXTERNAL;
CREATE INDEX fusion_state_expiry ON fusion_state (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE fusion_state IS 'State of Fusion, written by its servers alone; read it through the views fusion_*';
