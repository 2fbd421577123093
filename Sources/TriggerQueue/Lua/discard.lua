-- Removes jobs for good. Never one that is active.
-- KEYS     open, base
-- ARGV     generation, state (`dead`, `completed`, `delayed` or `waiting`), then ids (1 to 500)
-- Returns  now, then per id: 1 removed, 2 locked or elsewhere, 4 unknown
-- Cost     O(log n) per id; O(n) per waiting one
local base, state = KEYS[2], ARGV[2]
local sets = { dead = 'failed', completed = 'completed', delayed = 'delayed' }
if (not sets[state] and state ~= 'waiting') or #ARGV < 3 or #ARGV > 502 then
    return badArgument('discard: a state and 1 to 500 ids')
end
checkTypes(base)
call('DEL', base)
local codes = { now }
for i = 3, #ARGV do
    local id, code = ARGV[i], 1
    local key = base .. id
    if call('EXISTS', key .. ':lock') == 1 then
        code = 2
    else
        local removed
        if sets[state] then
            removed = call('ZREM', base .. sets[state], id)
        else
            removed = call('LREM', base .. 'wait', -1, id)
            if removed == 0 then removed = call('ZREM', base .. 'prioritized', id) end
        end
        if removed > 0 then
            if state == 'delayed' then call('SREM', private .. 'retry:' .. classOf(base), id) end
            call('UNLINK', key, key .. ':logs')
            local prev = state == 'dead' and 'failed' or state
            call('XADD', base .. 'events', '*', 'event', 'removed', 'jobId', id, 'prev', prev)
        else
            code = call('EXISTS', key) == 1 and 2 or 4
        end
    end
    codes[#codes + 1] = code
end
trimEvents(base, call('HGET', base .. 'meta', 'opts.maxLenEvents'))
return codes
