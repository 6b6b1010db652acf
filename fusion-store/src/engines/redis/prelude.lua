-- Begins every script: whether it may act, and what all of them need. A script is atomic.
-- PREFIXid: the id of the state. PREFIXwriter:SERVER: the number of the server's connection. PREFIXversion:
-- the last version. PREFIXSPACE: values by key; PREFIXSPACE:meta: "VERSION" or "VERSION EXPIRY" by key;
-- PREFIXSPACE:keys: the keys in order. PREFIXexpiry: EXPIRYSPACE/KEY in order. EXPIRY is 16 hex digits.
local prefix = ARGV[1]
local found = redis.call('GET', prefix .. 'id')
if found ~= ARGV[2] then return {'other', found or ''} end
if redis.call('GET', prefix .. 'writer:' .. ARGV[3]) ~= ARGV[4] then return {'stale'} end

-- By halves: a number has 53 bits.
local function is_due(expiry, now)
    local one, other = tonumber(string.sub(expiry, 1, 8), 16), tonumber(string.sub(now, 1, 8), 16)
    if one ~= other then return one < other end
    return tonumber(string.sub(expiry, 9), 16) <= tonumber(string.sub(now, 9), 16)
end

local function expiry_of(meta)
    local gap = string.find(meta, ' ', 1, true)
    return gap and string.sub(meta, gap + 1)
end

local function version_of(meta)
    return string.match(meta, '^%d+')
end

local function meta_of(space, key)
    return redis.call('HGET', prefix .. space .. ':meta', key)
end

local function remove(space, key)
    local meta = meta_of(space, key)
    if not meta then return false end
    local expiry = expiry_of(meta)
    if expiry then redis.call('ZREM', prefix .. 'expiry', expiry .. space .. '/' .. key) end
    redis.call('HDEL', prefix .. space, key)
    redis.call('HDEL', prefix .. space .. ':meta', key)
    redis.call('ZREM', prefix .. space .. ':keys', key)
    return true
end

local function put(space, key, value, expiry)
    remove(space, key)
    local version = string.format('%.0f', redis.call('INCR', prefix .. 'version'))
    local meta = version
    if expiry ~= '' then
        meta = version .. ' ' .. expiry
        redis.call('ZADD', prefix .. 'expiry', 0, expiry .. space .. '/' .. key)
    end
    redis.call('HSET', prefix .. space, key, value)
    redis.call('HSET', prefix .. space .. ':meta', key, meta)
    redis.call('ZADD', prefix .. space .. ':keys', 0, key)
    return version
end

