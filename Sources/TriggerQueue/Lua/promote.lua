-- Runs delayed jobs now.
-- KEYS     open, base, private base
-- ARGV     generation, then ids (1 to 500)
-- Returns  now, then per id: 1 moved, 2 not delayed
-- Cost     O(log n) per id
local base = KEYS[2]
if #ARGV < 2 or #ARGV > 501 then return badArgument('promote: 1 to 500 ids') end
checkTypes(base)
local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
call('DEL', base)
local codes, moved = { now }, {}
for i = 2, #ARGV do
    local found = call('ZREM', base .. 'delayed', ARGV[i]) == 1
    if found then moved[#moved + 1] = ARGV[i] end
    codes[#codes + 1] = found and 1 or 2
end
if #moved > 0 then
    call('SREM', private .. 'retry:' .. classOf(base), unpack(moved))
    enqueue(base, moved)
    wake(base, meta[1], meta[2])
    trimEvents(base, meta[3])
end
return codes
