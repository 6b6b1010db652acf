-- Space, the lower and the upper bound as ZRANGEBYLEX takes them, how many, and now.
local space, low, high, many, now = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8]), ARGV[9]
local answer, left = {'ok'}, many
while left > 0 do
    local keys = redis.call('ZRANGEBYLEX', prefix .. space .. ':keys', low, high, 'LIMIT', 0, left)
    for _, key in ipairs(keys) do
        low = '(' .. key
        local meta = meta_of(space, key)
        local expiry = meta and expiry_of(meta)
        if meta and not (expiry and is_due(expiry, now)) then
            answer[#answer + 1] = key
            answer[#answer + 1] = redis.call('HGET', prefix .. space, key)
            answer[#answer + 1] = meta
        end
    end
    if #keys < left then break end
    left = many - (#answer - 1) / 3
end
return answer
