-- Ends jobs of one queue.
-- KEYS     open, base
-- ARGV     generation, keepMs, keepMax, then groups of jobs that share a token and an outcome: token, outcome (`c`
--          completed, `r` retry, `d` dead), atm and ats as taken, delay (ms), how many, then of each: id, value (JSON or reason)
-- Returns  now, then per job: 0 done, 1 repeated, 2 late, -1 unknown, -2 taken over, -3 not active, -6 other token
-- Cost     O(1) per job that is among the oldest of `active`, else O(a), a = jobs in `active` that are older; O(log n)
--          for the sets
local base, keepMs, keepMax = KEYS[2], tonumber(ARGV[2]), tonumber(ARGV[3])
if not base or not keepMs or not keepMax then return badArgument('finish: what to keep') end
-- Per group: where it starts in ARGV, and the number of its first job.
local starts, firsts = {}, {}
local ids, keys, bodies, wanted, count, at = {}, {}, {}, {}, 0, 4
while at <= #ARGV do
    local outcome, size = ARGV[at + 1], tonumber(ARGV[at + 5])
    if (outcome ~= 'c' and outcome ~= 'r' and outcome ~= 'd') or not tonumber(ARGV[at + 2])
        or not tonumber(ARGV[at + 4]) or not size or size < 1 or count + size > 256 or at + 5 + 2 * size > #ARGV
    then
        return badArgument('finish: groups of jobs, at most 256 in all')
    end
    wanted[outcome] = true
    starts[#starts + 1], firsts[#firsts + 1] = at, count
    for i = at + 6, at + 4 + 2 * size, 2 do
        count = count + 1
        local key = base .. ARGV[i]
        ids[count], bodies[count], keys[count] = ARGV[i], key, key .. ':lock'
    end
    at = at + 6 + 2 * size
end
if count == 0 then return badArgument('finish: no job') end

local active = call('LLEN', base .. 'active')
local waiting = call('LLEN', base .. 'wait') + call('ZCARD', base .. 'prioritized')
call('XLEN', base .. 'events')
if wanted.c then call('ZCARD', base .. 'completed') end
if wanted.d then call('ZCARD', base .. 'failed') end
if wanted.r then
    call('ZCARD', base .. 'delayed')
    call('ZCARD', base .. 'marker')
end
local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
if meta[2] then call('ZCARD', base .. 'marker') end
local locks = call('MGET', unpack(keys))
call('DEL', base)

-- A body that vanished must not be replaced by one of three fields: the job stays in `active` until reclaim.
local anyMissing = call('EXISTS', unpack(bodies)) < count

-- Jobs end mostly in the order in which they were taken: what stands at the tail leaves the list in one command. From
-- job number `left` on they are still there.
local left = 1
if not anyMissing then
    local tail = call('LRANGE', base .. 'active', -count, -1)
    local group, token = 0, nil
    while left <= #tail do
        if firsts[group + 1] == left - 1 then
            group = group + 1
            token = ARGV[starts[group]]
        end
        if tail[#tail + 1 - left] ~= ids[left] or locks[left] ~= token then break end
        left = left + 1
    end
    if left > 1 then call('LTRIM', base .. 'active', '0', string.format('%d', -left)) end
end

local codes, ended, held = { now }, {}, {}
local completed, failed, head = {}, {}, {}
local events, list = base .. 'events', base .. 'active'
local delayed = false

-- What becomes of a job that has left `active`.
local function complete(id, key, value, atm)
    call('HSET', key, 'finishedOn', nowText, 'returnvalue', value, 'atm', atm)
    if atm ~= '1' then call('HDEL', key, 'failedReason', 'stacktrace') end
    local at = #completed
    completed[at + 1], completed[at + 2] = nowText, id
    call('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value, 'prev', 'active')
end

local function bury(id, key, reason, atm)
    call('HSET', key, 'finishedOn', nowText, 'failedReason', reason, 'stacktrace', cjson.encode({ reason }), 'atm', atm)
    local at = #failed
    failed[at + 1], failed[at + 2] = nowText, id
    call('XADD', events, '*', 'event', 'failed', 'jobId', id, 'failedReason', reason, 'prev', 'active')
end

local function retry(id, key, reason, atm, delay)
    call('HSET', key, 'failedReason', reason, 'stacktrace', cjson.encode({ reason }), 'atm', atm, 'delay', delay)
    if delay > 0 then
        delayed = true
        local due = now + delay
        call('ZADD', base .. 'delayed', delayedScore(base, due), id)
        call('SADD', private .. 'retry:' .. classOf(base), id)
        call('XADD', events, '*', 'event', 'delayed', 'jobId', id, 'delay', due)
    else
        head[#head + 1] = id
        if FULL then call('XADD', events, '*', 'event', 'waiting', 'jobId', id, 'prev', 'active') end
    end
end

for group, start in ipairs(starts) do
    local token, outcome, ats = ARGV[start], ARGV[start + 1], ARGV[start + 3]
    local atm = ARGV[start + 2] == '0' and '1' or string.format('%d', ARGV[start + 2] + 1)
    local delay = math.max(0, math.floor(tonumber(ARGV[start + 4])))
    local first = firsts[group]
    for job = first + 1, firsts[group + 1] or count do
        local id, key, code = ids[job], bodies[job], 0
        if job >= left then
            code = standing(base, id, token, locks[job], ats)
            if anyMissing and call('EXISTS', key) == 0 then code = -1 end
            if (code == 0 or code == 2) and call('LREM', list, '-1', id) == 0 then code = -3 end
        end
        if code == 0 or code == 2 then
            ended[#ended + 1] = id
            if locks[job] then held[#held + 1] = keys[job] end
            local value = ARGV[start + 5 + 2 * (job - first)]
            if outcome == 'c' then
                complete(id, key, value, atm)
            elseif outcome == 'd' then
                bury(id, key, value, atm)
            else
                retry(id, key, value, atm, delay)
            end
        end
        codes[job + 1] = code
    end
end

local function countMetric(name, number)
    local key = base .. 'metrics:' .. name
    local before = call('HINCRBY', key, 'count', number) - number
    local previous = call('HMGET', key, 'prevTS', 'prevCount')
    if not previous[1] then
        call('HSET', key, 'prevTS', now, 'prevCount', 0)
        return
    end
    local minutes = math.min(math.floor(now / 60000) - math.floor(previous[1] / 60000), 1440)
    if minutes < 1 then return end
    local points = { before - previous[2] }
    for i = 2, minutes do points[i] = 0 end
    call('LPUSH', key .. ':data', unpack(points))
    call('LTRIM', key .. ':data', 0, 1439)
    call('HSET', key, 'prevTS', now, 'prevCount', before)
end

if #ended > 0 then
    if #held > 0 then call('DEL', unpack(held)) end
    call('SREM', base .. 'stalled', unpack(ended))
    if #completed > 0 then
        call('ZADD', base .. 'completed', unpack(completed))
        countMetric('completed', #completed / 2)
        removeCompleted(base, keepMs, keepMax, #completed)
    end
    if #failed > 0 then
        call('ZADD', base .. 'failed', unpack(failed))
        countMetric('failed', #failed / 2)
    end
    if #head > 0 then
        local back = {}
        for i = #head, 1, -1 do back[#back + 1] = head[i] end
        call('RPUSH', base .. 'wait', unpack(back))
    end
    if delayed then wakeLater(base) end
    waiting = waiting + #head
    if waiting == 0 then
        if #completed + #failed > 0 and active == #ended then call('XADD', events, '*', 'event', 'drained') end
    elseif #head > 0 or meta[2] then
        wake(base, meta[1], meta[2])
    end
    trimEvents(base, meta[3])
end
return codes
