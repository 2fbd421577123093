-- Says in which state each job is, and heals those in none.
-- KEYS     open, base
-- ARGV     generation, heal (0 or 1), then ids of jobs that have a hash (1 to 100)
-- Returns  per id: waiting, active, delayed, retry, completed, dead; none, several; or unknown, when a list was too long
-- Cost     O(1) per id and one pass over the lists, at most 10,000 entries of each
local base = KEYS[2]
if #ARGV < 3 or #ARGV > 102 then return badArgument('audit: 1 to 100 ids') end
checkTypes(base)
local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency')
call('DEL', base)
local places, isPartial = {}, false
for name, word in pairs({ wait = 'waiting', paused = 'waiting', active = 'active' }) do
    if call('LLEN', base .. name) > 10000 then isPartial = true end
    for _, id in ipairs(call('LRANGE', base .. name, -10000, -1)) do
        places[id] = places[id] and 'several' or word
    end
end
local words, pushed = {}, {}
for i = 3, #ARGV do
    local id = ARGV[i]
    local word = places[id]
    for set, name in pairs({ delayed = 'delayed', prioritized = 'waiting', completed = 'completed', failed = 'dead' }) do
        if call('ZSCORE', base .. set, id) then word = word and 'several' or name end
    end
    if word == 'delayed' and call('SISMEMBER', private .. 'retry:' .. classOf(base), id) == 1 then word = 'retry' end
    if not word and isPartial then word = 'unknown' end
    if not word then
        word = 'none'
        local job = call('HMGET', base .. id, 'finishedOn', 'name')
        if ARGV[2] == '1' then
            if job[1] then
                call('UNLINK', base .. id, base .. id .. ':logs')
            elseif job[2] then
                pushed[#pushed + 1] = id
            end
        end
    end
    words[#words + 1] = word
end
if #pushed > 0 then
    call('LPUSH', base .. 'wait', unpack(pushed))
    wake(base, meta[1], meta[2])
end
return words
