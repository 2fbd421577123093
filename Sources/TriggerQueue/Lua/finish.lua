-- Ends jobs of one queue.
-- KEYS     open, base
-- ARGV     generation, keepMs, keepMax, then groups of jobs that share a token and an outcome: token, outcome (`c`
--          completed, `r` retry, `d` dead), atm and ats as taken, delay (ms), how many, then of each: id, value (JSON or reason)
-- Returns  now, then per job: 0 done, 1 repeated, 2 late, -1 unknown, -2 taken over, -3 not active, -6 other token
-- Cost     O(1) per job that is among the oldest of `active`, else O(a), a = jobs in `active` that are older; O(log n)
--          for the sets
local base, keepMs, keepMax = KEYS[2], tonumber(ARGV[2]), tonumber(ARGV[3])
if not base or not keepMs or not keepMax then return redis.error_reply('BADARG finish: what to keep') end
local ids, keys, bodies, tokens, count, at = {}, {}, {}, {}, 0, 4
local completes, retries, deaths = false, false, false
while at <= #ARGV do
    local token, outcome, size = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 5])
    if (outcome ~= 'c' and outcome ~= 'r' and outcome ~= 'd') or not tonumber(ARGV[at + 2])
        or not tonumber(ARGV[at + 4]) or not size or size < 1 or count + size > 256 or at + 5 + 2 * size > #ARGV
    then
        return redis.error_reply('BADARG finish: groups of jobs, at most 256 in all')
    end
    completes, retries, deaths = completes or outcome == 'c', retries or outcome == 'r', deaths or outcome == 'd'
    for i = at + 6, at + 4 + 2 * size, 2 do
        count = count + 1
        local key = base .. ARGV[i]
        ids[count], bodies[count], keys[count], tokens[count] = ARGV[i], key, key .. ':lock', token
    end
    at = at + 6 + 2 * size
end
if count == 0 then return redis.error_reply('BADARG finish: no job') end

local events, list = base .. 'events', base .. 'active'
local told = call('XLEN', events)
local kept = completes and call('ZCARD', base .. 'completed')
if deaths then call('ZCARD', base .. 'failed') end
if retries then
    call('LLEN', base .. 'wait')
    call('ZCARD', base .. 'delayed')
    call('ZCARD', base .. 'marker')
end
local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
if meta[2] then call('ZCARD', base .. 'marker') end
local locks = call('MGET', unpack(keys))

-- A body that vanished must not be replaced by one of three fields: the job stays in `active` until reclaim.
local anyMissing = call('EXISTS', unpack(bodies)) < count

-- Jobs end mostly in the order in which they were taken: what stands at the tail leaves the list in one command. From
-- job number `left` on they are still there. What takes away may be the first write when Redis is full.
local left = 1
if count > 2 and not anyMissing then
    local tail = call('LRANGE', list, text(-count), '-1')
    local size = #tail
    while left <= size and tail[size + 1 - left] == ids[left] and locks[left] == tokens[left] do left = left + 1 end
    if left > 1 then call('LTRIM', list, '0', text(-left)) end
end
-- Whether each of the others has its lock and its body.
local isOrdinary = not anyMissing
for job = left, count do isOrdinary = isOrdinary and locks[job] == tokens[job] end

-- Who ended, who had a lock: everybody, unless something is out of the ordinary.
local codes, ended, held, ends, holds = { now, 0 }, ids, keys, 0, 0
local completed, done, failed, head = { nowText, false }, 0, {}, {}
local delayed = false
if not isOrdinary then ended, held = {}, {} end

-- What becomes of a job that has left `active` without being done.
local miss
if retries or deaths then
    --@delaying
    miss = function(id, key, reason, atm, delay)
        call('HSET', key, 'failedReason', reason, 'stacktrace', cjson.encode({ reason }), 'atm', atm)
        if not delay then
            call('HSET', key, 'finishedOn', nowText)
            failed[#failed + 1] = nowText
            failed[#failed + 1] = id
            call('XADD', events, '*', 'event', 'failed', 'jobId', id, 'failedReason', reason, 'prev', 'active')
            return
        end
        call('HSET', key, 'delay', text(delay))
        if delay > 0 then
            delayed = true
            local due = now + delay
            call('ZADD', base .. 'delayed', text(delayedScore(base, due)), id)
            call('SADD', private .. 'retry:' .. string.match(base, '}%-(.+):$'), id)
            call('XADD', events, '*', 'event', 'delayed', 'jobId', id, 'delay', text(due))
        else
            head[#head + 1] = id
            if FULL then call('XADD', events, '*', 'event', 'waiting', 'jobId', id, 'prev', 'active') end
        end
    end
end

local job = 0
at = 4
while job < count do
    local token, outcome, ats = ARGV[at], ARGV[at + 1], ARGV[at + 3]
    local atm = ARGV[at + 2] == '0' and '1' or text(ARGV[at + 2] + 1)
    for i = at + 6, at + 4 + 2 * ARGV[at + 5], 2 do
        job = job + 1
        local id, key, code = ids[job], bodies[job], 0
        if job >= left then
            if not isOrdinary then
                --@acknowledging
                code = standing(base, id, token, locks[job], ats)
                if anyMissing and call('EXISTS', key) == 0 then code = -1 end
            end
            if (code == 0 or code == 2) and call('LREM', list, '-1', id) == 0 then
                code = -3
                if isOrdinary then
                    ended, held, isOrdinary = { unpack(ids, 1, job - 1) }, { unpack(keys, 1, job - 1) }, false
                end
            end
        end
        if code == 0 or code == 2 then
            ends = ends + 1
            if locks[job] then holds = holds + 1 end
            if not isOrdinary then
                ended[ends] = id
                if locks[job] then held[holds] = keys[job] end
            end
            local value = ARGV[i + 1]
            if outcome == 'c' then
                call('HSET', key, 'finishedOn', nowText, 'returnvalue', value, 'atm', atm)
                if atm ~= '1' then call('HDEL', key, 'failedReason', 'stacktrace') end
                completed[2 * done + 1], completed[2 * done + 2] = nowText, id
                done = done + 1
                call('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value, 'prev', 'active')
            else
                miss(id, key, value, atm, outcome == 'r' and math.max(0, math.floor(tonumber(ARGV[at + 4]))))
            end
        end
        codes[job + 1] = code
    end
    at = at + 6 + 2 * ARGV[at + 5]
end
if ends == 0 then return codes end

-- Returns how many were counted before.
local function countMetric(name, number)
    local key = base .. 'metrics:' .. name
    local before = call('HINCRBY', key, 'count', text(number)) - number
    local previous = call('HMGET', key, 'prevTS', 'prevCount')
    if not previous[1] then
        call('HSET', key, 'prevTS', nowText, 'prevCount', '0')
        return before
    end
    local minutes = math.min(math.floor(now / 60000) - math.floor(previous[1] / 60000), 1440)
    if minutes < 1 then return before end
    local points = { text(before - previous[2]) }
    for i = 2, minutes do points[i] = '0' end
    call('LPUSH', key .. ':data', unpack(points))
    call('LTRIM', key .. ':data', '0', '1439')
    call('HSET', key, 'prevTS', nowText, 'prevCount', text(before))
    return before
end

if holds > 0 then call('DEL', unpack(held)) end
-- Only a worker of another kind makes this set.
if call('EXISTS', base .. 'stalled') == 1 then call('SREM', base .. 'stalled', unpack(ended)) end
if done > 0 then
    call('ZADD', base .. 'completed', unpack(completed))
    local before = countMetric('completed', done)
    -- Old ones are looked for once for every 16 jobs that end.
    local turns = math.floor((before + done) / 16) - math.floor(before / 16)
    if turns > 0 then
        --@retaining
        removeCompleted(base, keepMs, keepMax, math.max(32 * turns, 2 * done), kept + done)
    end
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
if delayed then
    --@dues
    wakeLater(base)
end
if #head > 0 or (meta[2] and call('EXISTS', base .. 'wait', base .. 'prioritized') > 0) then
    --@waking
    wake(base, meta[1], meta[2])
elseif done + #failed > 0 and call('EXISTS', list, base .. 'wait', base .. 'prioritized') == 0 then
    call('XADD', events, '*', 'event', 'drained')
end
-- Only whole nodes of the stream go, of about a hundred entries: below that there is nothing to do.
local most = meta[3] or '10000'
if told + ends > most + 100 then call('XTRIM', events, 'MAXLEN', '~', most) end
return codes
