-- Removing completed jobs that are past their time. Part of finish and reclaim.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  function `removeCompleted(base, keepMs, keepMax, limit, size)`: how many were removed; `size`: of the set, if known
-- Cost     O(log n + removed)
local function removeCompleted(base, keepMs, keepMax, limit, size)
    local set = base .. 'completed'
    local old = call('ZRANGEBYSCORE', set, '-inf', text(now - keepMs), 'LIMIT', '0', text(limit))
    if #old < limit then
        local excess = math.min((size or call('ZCARD', set)) - keepMax, limit)
        if excess > #old then old = call('ZRANGE', set, '0', text(excess - 1)) end
    end
    if #old == 0 then return 0 end
    call('ZREM', set, unpack(old))
    local keys = {}
    for i, id in ipairs(old) do keys[i] = base .. id end
    call('UNLINK', unpack(keys))
    return #old
end
