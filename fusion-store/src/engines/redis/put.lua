-- Fours of space, key, value and expiry or ''.
local version = ''
for at = 5, #ARGV, 4 do
    version = put(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
return {'ok', version}
