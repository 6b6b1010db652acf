local space, key = ARGV[5], ARGV[6]
local meta = meta_of(space, key)
if not meta then return {'ok'} end
return {'ok', key, redis.call('HGET', prefix .. space, key), meta}
