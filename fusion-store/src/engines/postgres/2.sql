-- Schema 2: what an operator reads. The views decode the values; a value that cannot be decoded is
-- there with its key and version, its columns are null.
CREATE FUNCTION fusion_json(value bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN convert_from(value, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

CREATE FUNCTION fusion_time(nanos bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT timestamptz 'epoch' + (nanos / 1000) * interval '1 microsecond'
$$;

CREATE VIEW fusion_views AS
    SELECT convert_from(key, 'UTF8') AS name, r ->> 'id' AS id,
        fusion_time((r ->> 'created_at_ns')::bigint) AS created_at,
        (r ->> 'epoch')::numeric AS leader_epoch, version
    FROM fusion_state, LATERAL fusion_json(value) AS r WHERE space = 'view';

CREATE VIEW fusion_sessions AS
    SELECT encode(key, 'hex') AS key, r ->> 'view' AS view, r ->> 'agent' AS agent,
        r ->> 'host' AS host, r ->> 'principal' AS principal, (r ->> 'epoch')::numeric AS epoch,
        r ->> 'root_uri' AS root_uri,
        ((r ->> 'timeout_ms')::numeric / 1000) * interval '1 second' AS timeout,
        fusion_time((r ->> 'created_at_ns')::bigint) AS created_at,
        coalesce(r #>> '{ended,state}', 'active') AS state,
        fusion_time((r #>> '{ended,at_ns}')::bigint) AS ended_at,
        fusion_time(expires_at) AS expires_at, version, r AS record
    FROM fusion_state, LATERAL fusion_json(value) AS r WHERE space = 'session';

CREATE VIEW fusion_jobs AS
    SELECT r ->> 'id' AS id, r ->> 'state' AS state, (r ->> 'progress')::int AS progress,
        r ->> 'origin' AS origin, r ->> 'principal' AS principal, (r ->> 'priority')::int AS priority,
        (SELECT string_agg(DISTINCT step ->> 'view', ', ') FROM jsonb_array_elements(r -> 'steps') AS step) AS views,
        (SELECT string_agg(DISTINCT step ->> 'kind', ', ') FROM jsonb_array_elements(r -> 'steps') AS step) AS kinds,
        fusion_time((r ->> 'created_at_ns')::bigint) AS created_at,
        fusion_time((r ->> 'started_at_ns')::bigint) AS started_at,
        fusion_time((r ->> 'updated_at_ns')::bigint) AS updated_at,
        fusion_time((r ->> 'ended_at_ns')::bigint) AS ended_at,
        r ->> 'why' AS why, r ->> 'correlation' AS correlation,
        fusion_time(expires_at) AS expires_at, version, r AS record
    FROM fusion_state, LATERAL fusion_json(value) AS r WHERE space = 'job';

CREATE VIEW fusion_audit AS
    SELECT fusion_time((r ->> 'time_ns')::bigint) AS time, r ->> 'principal' AS principal,
        r ->> 'method' AS method, r ->> 'view' AS view, r ->> 'path' AS path,
        r ->> 'target' AS target, r ->> 'code' AS code, r ->> 'reason' AS reason,
        r -> 'changes' AS changes, r ->> 'correlation' AS correlation, r ->> 'id' AS id,
        fusion_time(expires_at) AS expires_at, version, r AS record
    FROM fusion_state, LATERAL fusion_json(value) AS r WHERE space = 'audit';
