-- Ends jobs of one queue.
-- KEYS     open, base
-- ARGV     generation, keepMs, keepMax, then groups of jobs that share a token and an outcome: token, outcome (`c`
--          completed, `r` retry, `d` dead), atm and ats as taken, delay (ms), how many, then of each: id, value (JSON or reason)
-- Returns  now, then per job: 0 done, 1 repeated, 2 late, -1 unknown, -2 taken over, -3 not active, -6 other token
-- Cost     O(1) per job that is among the oldest of `active`, else O(a), a = jobs in `active` that are older; O(log n)
--          for the sets
local base, keepMs, keepMax = KEYS[2], tonumber(ARGV[2]), tonumber(ARGV[3])
if not base or not keepMs or not keepMax then return badArgument('finish: what to keep') end
local ids, tokens, outcomes, attempts, deliveries, delays, values = {}, {}, {}, {}, {}, {}, {}
local keys, bodies, wanted, count, at = {}, {}, {}, 0, 4
while at <= #ARGV do
    local token, outcome, delay, size = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
    if (outcome ~= 'c' and outcome ~= 'r' and outcome ~= 'd') or not tonumber(ARGV[at + 2]) or not delay or not size
        or size < 1 or count + size > 256 or at + 5 + 2 * size > #ARGV
    then
        return badArgument('finish: groups of jobs, at most 256 in all')
    end
    wanted[outcome] = true
    for i = at + 6, at + 4 + 2 * size, 2 do
        count = count + 1
        local id = ARGV[i]
        local key = base .. id
        ids[count], tokens[count], outcomes[count] = id, token, outcome
        attempts[count], deliveries[count], delays[count], values[count] = ARGV[at + 2], ARGV[at + 3], delay, ARGV[i + 1]
        bodies[count], keys[count] = key, key .. ':lock'
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

-- Jobs end mostly in the order in which they were taken: what stands at the tail leaves the list in one command.
local gone = {}
if not anyMissing then
    local mine, rest = {}, 0
    for i = 1, count do mine[ids[i]] = locks[i] == tokens[i] end
    local tail = call('LRANGE', base .. 'active', -count, -1)
    for i = #tail, 1, -1 do
        local id = tail[i]
        if not mine[id] then break end
        mine[id], gone[id] = false, true
        rest = rest + 1
    end
    if rest > 0 then call('RPOP', base .. 'active', rest) end
end

local codes, ended, held = { now }, {}, {}
local completed, failed, head = {}, {}, {}
local events, list = base .. 'events', base .. 'active'
local delayed = false
for job = 1, count do
    local id, token, outcome = ids[job], tokens[job], outcomes[job]
    local key = bodies[job]
    local code = standing(base, id, token, locks[job], deliveries[job])
    if anyMissing and call('EXISTS', key) == 0 then code = -1 end
    if code == 0 or code == 2 then
        if gone[id] then
            gone[id] = nil
        elseif call('LREM', list, '-1', id) == 0 then
            code = -3
        end
        if code ~= -3 then
            ended[#ended + 1] = id
            if locks[job] then held[#held + 1] = keys[job] end
            local atm, value = attempts[job], values[job]
            local isFirst = atm == '0'
            atm = isFirst and '1' or string.format('%d', atm + 1)
            if outcome == 'c' then
                call('HSET', key, 'finishedOn', nowText, 'returnvalue', value, 'atm', atm)
                if not isFirst then call('HDEL', key, 'failedReason', 'stacktrace') end
                completed[#completed + 1] = nowText
                completed[#completed + 1] = id
                call('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value,
                    'prev', 'active')
            else
                local trace = cjson.encode({ value })
                if outcome == 'd' then
                    call('HSET', key, 'finishedOn', nowText, 'failedReason', value, 'stacktrace', trace, 'atm', atm)
                    failed[#failed + 1] = nowText
                    failed[#failed + 1] = id
                    call('XADD', events, '*', 'event', 'failed', 'jobId', id, 'failedReason', value,
                        'prev', 'active')
                else
                    local delay = math.max(0, math.floor(delays[job]))
                    call('HSET', key, 'failedReason', value, 'stacktrace', trace, 'atm', atm, 'delay', delay)
                    if delay > 0 then
                        delayed = true
                        local due = now + delay
                        call('ZADD', base .. 'delayed', delayedScore(base, due), id)
                        call('SADD', private .. 'retry:' .. classOf(base), id)
                        call('XADD', events, '*', 'event', 'delayed', 'jobId', id, 'delay', due)
                    else
                        head[#head + 1] = id
                        if FULL then
                            call('XADD', events, '*', 'event', 'waiting', 'jobId', id, 'prev', 'active')
                        end
                    end
                end
            end
        end
    end
    codes[#codes + 1] = code
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
