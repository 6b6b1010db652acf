-- PREFIX, the server, the id that the state must have or '', the id that it gets if it has none, and
-- the newest format that is known. Gives the id, and the number of the connection.
local prefix, server, wanted, new, known = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local found = redis.call('GET', prefix .. 'id')
if wanted ~= '' and found ~= wanted then return {'other', found or ''} end
local format = redis.call('GET', prefix .. 'format')
if format and tonumber(format) > tonumber(known) then return {'future', format} end
if not found then
    redis.call('SET', prefix .. 'format', known)
    redis.call('SET', prefix .. 'id', new)
    found = new
end
local number = redis.call('INCR', prefix .. 'writer:' .. server)
return {'ok', found, string.format('%.0f', number)}
