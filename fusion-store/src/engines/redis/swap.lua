-- Space, key, value, expiry or '', the version that must be there or '', and now.
local space, key, expected, now = ARGV[5], ARGV[6], ARGV[9], ARGV[10]
local meta = meta_of(space, key)
local expiry = meta and expiry_of(meta)
if expiry and is_due(expiry, now) then meta = false end
local there = meta and version_of(meta) or ''
if there ~= expected then
    if not meta then return {'conflict'} end
    return {'conflict', key, redis.call('HGET', prefix .. space, key), meta}
end
return {'ok', put(space, key, ARGV[7], ARGV[8])}
