-- What schema 1 made, with values in it, as pg_dump --inserts writes it. No later version may change this file.
CREATE TABLE fusion_migrations (version integer NOT NULL, taken_at timestamp with time zone DEFAULT now() NOT NULL);
CREATE TABLE fusion_state (space text NOT NULL, key bytea NOT NULL, value bytea NOT NULL, version bigint NOT NULL, expires_at bigint);
ALTER TABLE ONLY fusion_state ALTER COLUMN value SET STORAGE EXTERNAL;
COMMENT ON TABLE fusion_state IS 'State of Fusion, written by its servers alone; read it through the views fusion_*';
CREATE TABLE fusion_store (only_one boolean DEFAULT true NOT NULL, id uuid NOT NULL, CONSTRAINT fusion_store_only_one_check CHECK (only_one));
CREATE SEQUENCE fusion_version START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
INSERT INTO fusion_migrations (version, taken_at) VALUES (1, '2026-11-22 12:00:00+00');
INSERT INTO fusion_state VALUES ('view', '\x70726f6a65637473', '\x7b2276223a312c226964223a2230303030303030302d303030302d303030302d303030302d303030303030303030303039222c22637265617465645f61745f6e73223a313730303030303030303030303030303030312c2265706f6368223a377d', 3, NULL);
INSERT INTO fusion_state VALUES ('idempotency', '\x70006d006b0078', '\x00ff01', 9, 9000000000000000000);
INSERT INTO fusion_store VALUES (true, '00000000-0000-0000-0000-000000001234');
SELECT pg_catalog.setval('fusion_version', 9, true);
ALTER TABLE ONLY fusion_migrations ADD CONSTRAINT fusion_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY fusion_state ADD CONSTRAINT fusion_state_pkey PRIMARY KEY (space, key);
ALTER TABLE ONLY fusion_store ADD CONSTRAINT fusion_store_pkey PRIMARY KEY (only_one);
CREATE INDEX fusion_state_expiry ON fusion_state USING btree (expires_at) WHERE (expires_at IS NOT NULL);
