-- Now, and how many at most.
local due = redis.call('ZRANGEBYLEX', prefix .. 'expiry', '-', '(' .. ARGV[5] .. '\255', 'LIMIT', 0, ARGV[6])
for _, member in ipairs(due) do
    local place = string.sub(member, 17)
    local slash = string.find(place, '/', 1, true)
    remove(string.sub(place, 1, slash - 1), string.sub(place, slash + 1))
end
return {'ok', string.format('%.0f', #due)}
