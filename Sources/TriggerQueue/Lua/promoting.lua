-- Moving due jobs from `delayed` to `wait`. Part of take, promote and reclaim.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  function `promoteDue(base, limit)`: how many were moved
-- Cost     O(log n) per job
local function enqueue(base, ids)
    local waiting = {}
    for _, id in ipairs(ids) do
        local job = call('HMGET', base .. id, 'priority', 'name')
        -- Without a body it goes to `wait` all the same: take knows what to do, and a write would invent a hash.
        if job[2] then
            call('HSET', base .. id, 'delay', '0')
            if FULL then call('XADD', base .. 'events', '*', 'event', 'waiting', 'jobId', id, 'prev', 'delayed') end
        end
        local priority = tonumber(job[1] or 0) or 0
        if priority > 0 then
            local counter = call('INCR', base .. 'pc')
            call('ZADD', base .. 'prioritized', text(priority * 4294967296 + counter % 4294967296), id)
        else
            waiting[#waiting + 1] = id
        end
    end
    if #waiting > 0 then call('LPUSH', base .. 'wait', unpack(waiting)) end
end

local function promoteDue(base, limit)
    local ids = call('ZRANGEBYSCORE', base .. 'delayed', '-inf', text(now * 4096 + 4095), 'LIMIT', '0', text(limit))
    if #ids == 0 then return 0 end
    call('ZREM', base .. 'delayed', unpack(ids))
    call('SREM', private .. 'retry:' .. string.match(base, '}%-(.+):$'), unpack(ids))
    enqueue(base, ids)
    return #ids
end
