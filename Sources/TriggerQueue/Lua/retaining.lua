-- Removing completed jobs that are past their time. Part of finish and reclaim.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  function `removeCompleted(base, keepMs, keepMax, limit)`: how many were removed
-- Cost     O(log n + removed)
local function removeCompleted(base, keepMs, keepMax, limit)
    local set = base .. 'completed'
    local old = call('ZRANGEBYSCORE', set, '-inf', now - keepMs, 'LIMIT', 0, limit)
    if #old < limit then
        local excess = math.min(call('ZCARD', set) - keepMax, limit)
        if excess > #old then old = call('ZRANGE', set, 0, excess - 1) end
    end
    if #old == 0 then return 0 end
    call('ZREM', set, unpack(old))
    local keys = {}
    for i, id in ipairs(old) do keys[i] = base .. id end
    call('UNLINK', unpack(keys))
    return #old
end
