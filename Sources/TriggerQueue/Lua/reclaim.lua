-- The queue's own sweep over one partition: stalled jobs back, due jobs promoted, old ones removed, damage repaired.
-- KEYS     open, bases of stops, targets, housekeeping, private base
-- ARGV     generation, keepMs, keepMax, then ids of dead workers (0 to 64)
-- Returns  now, and whether offers are refused for want of memory (0 or 1); then, unless no worker was named and another
--          one ran in the last 900 ms: next due ms or 0, promoted, stalled (flat: class, id, crash count, charged 0 or 1),
--          removed, markers written, intruders removed
-- Cost     bounded: 500 promoted, 1,000 leases looked at, 500 removed per class; 250 stalled in all, then the caller
--          calls again
local keepMs, keepMax = tonumber(ARGV[2]), tonumber(ARGV[3])
if not keepMs or not keepMax or #ARGV > 67 then return badArgument('reclaim: up to 64 dead workers') end
-- The first write of a script tells: a full Redis refuses it unless it frees something.
local probe = redis.pcall('SET', private .. 'probe', 1, 'PX', 1000)
local full = type(probe) == 'table' and probe.err and 1 or 0
call('DEL', KEYS[2])
if not call('SET', private .. 'reclaim', 1, 'NX', 'PX', 900) and #ARGV == 3 then return { now, full } end

local dead = {}
for i = 4, #ARGV do dead[ARGV[i]] = true end

local types = {
    wait = 'list', active = 'list', paused = 'list', delayed = 'zset', prioritized = 'zset', completed = 'zset',
    failed = 'zset', marker = 'zset', stalled = 'set', events = 'stream', id = 'string', pc = 'string',
    limiter = 'string',
}
local intruders = 0
local function repair(base)
    for name, type in pairs(types) do
        local found = call('TYPE', base .. name).ok
        if found == 'hash' and found ~= type then
            call('UNLINK', base .. name)
            intruders = intruders + 1
        end
    end
end

local seenBy = {}
-- Whether a worker received the take whose token this is. A lost reply charges nobody.
local function wasSeen(worker, n)
    if seenBy[worker] == nil then
        local took = private .. 'took:' .. worker
        local record = call('HMGET', took, 'seen', 'n', 'ids')
        local seen, last = tonumber(record[1] or 0), tonumber(record[2] or 0)
        if not record[1] and not record[2] then
            seen = math.huge
        elseif last > 0 then
            -- Who asks for the n-th has the reply before it; who has that of the n-th deletes `ids`.
            seen = math.max(seen, record[3] and last - 1 or last)
        end
        seenBy[worker] = seen
    end
    return seenBy[worker] >= n
end

local stalled, room = {}, 250
local function report(class, id, crashes, charged)
    local at = #stalled
    stalled[at + 1], stalled[at + 2], stalled[at + 3], stalled[at + 4] = class, id, crashes, charged
end

local function recover(base, class, meta)
    local cursors, field = private .. 'reclaimed', classOf(base)
    local from = tonumber(call('HGET', cursors, field) or 0)
    local ids = call('LRANGE', base .. 'active', -1000 - from, -1 - from)
    if #ids == 0 and from > 0 then
        from = 0
        ids = call('LRANGE', base .. 'active', -1000, -1)
    end
    if #ids == 0 then
        call('HDEL', cursors, field)
        return
    end
    local keys = {}
    for i, id in ipairs(ids) do keys[i] = base .. id .. ':lock' end
    local locks = call('MGET', unpack(keys))
    local back, delayed, moved = {}, false, 0
    -- From the oldest, which is the last.
    for i = #ids, 1, -1 do
        local id, lock = ids[i], locks[i]
        local holder = lock and string.match(lock, '^(.*):%d+$')
        if room == 0 then break end
        if (not lock or (holder and dead[holder])) and call('LREM', base .. 'active', -1, id) == 1 then
            moved = moved + 1
            room = room - 1
            local key = base .. id
            local job = call('HMGET', key, 'name', 'pb', 'stc')
            local crashes, charged = tonumber(job[3] or 0), 0
            call('DEL', keys[i])
            if job[1] then
                local worker, n = string.match(lock or job[2] or '', '^(.*):(%d+)$')
                if not worker or wasSeen(worker, tonumber(n)) then
                    charged = 1
                    crashes = call('HINCRBY', key, 'stc', 1)
                end
                call('HDEL', key, 'pb')
            end
            call('XADD', base .. 'events', '*', 'event', 'stalled', 'jobId', id)
            if charged == 1 and crashes >= 3 and (crashes <= 10 or class == 1) then
                -- Quarantine: at most one delivery a minute. With more than ten the worker that gets it gives it up, so that
                -- the death reaches PostgreSQL first; jobs in `stops` are tried for ever.
                local due = now + 60000
                call('HSET', key, 'delay', 60000)
                call('ZADD', base .. 'delayed', delayedScore(base, due), id)
                call('XADD', base .. 'events', '*', 'event', 'delayed', 'jobId', id, 'delay', due)
                delayed = true
            else
                back[#back + 1] = id
                if FULL then
                    call('XADD', base .. 'events', '*', 'event', 'waiting', 'jobId', id, 'prev', 'active')
                end
            end
            report(class, id, crashes, charged)
        end
    end
    if #back > 0 then
        local head = {}
        for i = #back, 1, -1 do head[#head + 1] = back[i] end
        call('RPUSH', base .. 'wait', unpack(head))
    end
    if delayed then wakeLater(base) end
    if room == 0 then
        -- The same place again, as soon as somebody calls.
        call('DEL', private .. 'reclaim')
    elseif #ids == 1000 then
        call('HSET', cursors, field, from + 1000 - moved)
    else
        call('HDEL', cursors, field)
    end
end

local function endPause(base)
    local class = classOf(base)
    local pause = call('HGET', private .. 'paused', class)
    local till = pause and tonumber(string.match(pause, '^%d+'))
    if not till or till == 0 or till > now then return end
    call('HDEL', private .. 'paused', class)
    call('HDEL', base .. 'meta', 'paused')
    call('XADD', base .. 'events', '*', 'event', 'resumed')
end

local due, promoted, removed, markers = 0, 0, 0, 0
for class = 1, 3 do
    local base = KEYS[class + 1]
    repair(base)
    endPause(base)
    local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'duration', 'opts.maxLenEvents')
    promoted = promoted + promoteDue(base, 500)
    if room > 0 then recover(base, class, meta) end
    removed = removed + removeCompleted(base, keepMs, keepMax, 500)
    if meta[3] then
        call('ZREMRANGEBYSCORE', private .. 'starts:' .. classOf(base), '-inf', now - meta[3] - 20)
    else
        call('DEL', private .. 'starts:' .. classOf(base))
    end
    if (call('LLEN', base .. 'wait') > 0 or call('EXISTS', base .. 'prioritized') == 1)
        and not call('ZSCORE', base .. 'marker', '0') and not isPausedOrFull(base, meta[1], meta[2]) then
        call('ZADD', base .. 'marker', 0, '0')
        markers = markers + 1
    end
    local head = nextDue(base)
    if head and (due == 0 or head < due) then due = head end
    if call('EXISTS', base .. 'events') == 1 then trimEvents(base, meta[4]) end
end
return { now, full, due, promoted, stalled, removed, markers, intruders }
