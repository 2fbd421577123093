-- Takes jobs of one partition for a worker, stops first, each with a lease.
-- KEYS     open, bases of stops, targets, housekeeping, private base
-- ARGV     generation, worker, n, leaseMs, then how many of each class; at most 128 in all
-- Returns  now, next due ms or 0, jobs of each class (three lists, flat: id, head, data), ids without body (flat: class,
--          id). A head is empty for the first delivery of a `trigger`, else: atm, ats, stc and name, parted by blanks
-- Cost     O(jobs) + O(log n) per promoted or prioritized job
--
-- The same n again returns the same jobs, as far as their locks still hold: a reply that was lost is repeated.
local worker, n, leaseMs = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local wants = { tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]) }
if #ARGV ~= 7 or not n or not leaseMs or #wants ~= 3 or wants[1] + wants[2] + wants[3] > 128 then
    return badArgument('take: 7 arguments, at most 128 jobs')
end
local token = worker .. ':' .. ARGV[3]
local took = private .. 'took:' .. worker
local jobs, broken, due = { {}, {}, {} }, {}, 0

local function later(ms) if ms and (due == 0 or ms < due) then due = ms end end

local function hand(class, id, job)
    local list = jobs[class]
    local at = #list
    local head = ''
    if job[4] ~= '1' or job[1] ~= 'trigger' or job[3] or job[5] then
        head = (job[3] or '0') .. ' ' .. (job[4] or '0') .. ' ' .. (job[5] or '0') .. ' ' .. (job[1] or '')
    end
    list[at + 1], list[at + 2], list[at + 3] = id, head, job[2]
end

local function answer(due) return { now, due, jobs[1], jobs[2], jobs[3], broken } end

-- Name, data, atm, ats, stc, defa. What was never delivered has nothing but the first two.
local function body(key)
    local job = call('HMGET', key, 'name', 'data', 'ats')
    local ats = job[3]
    if not ats then return job end
    local rest = call('HMGET', key, 'atm', 'stc', 'defa')
    return { job[1], job[2], rest[1], ats, rest[2], rest[3] }
end

-- Reads first: which classes have something, and no key of a wrong type.
local heads, states, anything = {}, {}, false
for class = 1, 3 do
    if wants[class] > 0 then
        local base = KEYS[class + 1]
        local waiting, prioritized = call('LLEN', base .. 'wait'), call('ZCARD', base .. 'prioritized')
        local head = nextDue(base)
        if waiting > 0 or prioritized > 0 or (head and head <= now) then
            call('LLEN', base .. 'active')
            call('ZCARD', base .. 'failed')
            call('ZCARD', base .. 'marker')
            call('XLEN', base .. 'events')
            states[class] = true
            anything = true
        end
        heads[class] = head
    end
end

local last = call('HMGET', took, 'n', 'ids')
if last[1] then
    local lastN = tonumber(last[1])
    if lastN > n then return answer(0) end
    if lastN == n then
        local ids = cmsgpack.unpack(last[2])
        for i = 1, #ids, 2 do
            local base = KEYS[ids[i] + 1]
            if call('GET', base .. ids[i + 1] .. ':lock') == token then
                hand(ids[i], ids[i + 1], body(base .. ids[i + 1]))
            end
        end
        return answer(0)
    end
end

-- Dead instead of taken.
local function bury(base, id, reason)
    call('HSET', base .. id, 'failedReason', reason, 'finishedOn', nowText)
    call('ZADD', base .. 'failed', nowText, id)
    call('XADD', base .. 'events', '*', 'event', 'failed', 'jobId', id, 'failedReason', reason, 'prev', 'waiting')
end

local function buryWithoutBody(base, class, id)
    call('HSET', base .. id, 'name', 'trigger', 'data', '{}', 'opts', '{}', 'timestamp', nowText, 'delay', '0',
        'priority', '0')
    bury(base, id, 'BODY_MISSING: the job has no body')
    broken[#broken + 1] = class
    broken[#broken + 1] = id
end

local expiry = string.format('%d', now + leaseMs)

-- How many of a queue may start now.
local function allowed(base, class, meta, want)
    if meta[1] then return 0 end
    if meta[2] then want = math.min(want, tonumber(meta[2]) - call('LLEN', base .. 'active')) end
    local limiter = call('GET', base .. 'limiter')
    if limiter and tonumber(limiter) and tonumber(limiter) >= 9007199254740991 then
        local left = call('PTTL', base .. 'limiter')
        if left > 0 then
            later(now + left)
            return 0
        end
    end
    if meta[3] and meta[4] and want > 0 then
        local starts, window = private .. 'starts:' .. classOf(base), tonumber(meta[4]) + 20
        call('ZREMRANGEBYSCORE', starts, '-inf', now - window)
        local free = tonumber(meta[3]) - call('ZCARD', starts)
        if free < want then
            want = free
            local oldest = call('ZRANGE', starts, 0, 0, 'WITHSCORES')
            if oldest[2] then later(tonumber(oldest[2]) + window + 1) end
        end
    end
    return want
end

local taken, suspect = {}, false
if anything then call('DEL', KEYS[2]) end
for class = 1, 3 do
    if states[class] and not suspect then
        local base = KEYS[class + 1]
        local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'max', 'duration')
        if heads[class] and heads[class] <= now then
            promoteDue(base, 100)
            heads[class] = nextDue(base)
        end
        local want = allowed(base, class, meta, wants[class])
        if want > 0 then
            local popped, order = call('RPOP', base .. 'wait', want) or {}, nil
            if #popped < want then
                order = call('ZPOPMIN', base .. 'prioritized', want - #popped)
                for i = 1, #order, 2 do popped[#popped + 1] = order[i] end
                if #order > 0 and call('EXISTS', base .. 'prioritized') == 0 then call('DEL', base .. 'pc') end
            end
            local started, index, events = {}, 0, base .. 'events'
            for i, id in ipairs(popped) do
                local key = base .. id
                local job = body(key)
                if not job[1] and not job[2] then
                    buryWithoutBody(base, class, id)
                elseif class > 1 and job[6] then
                    -- An official stalled check gave it up (QUEUE.md 3.2).
                    bury(base, id, 'STALLED: ' .. job[6])
                else
                    -- A job that crashed workers twice runs alone, so that it cannot take others down with it.
                    local isSuspect = tonumber(job[5] or 0) >= 2
                    if suspect or (isSuspect and (#started > 0 or #taken > 0)) then
                        suspect = true
                        index = i
                        break
                    end
                    suspect = isSuspect
                    job[4] = job[4] and string.format('%d', job[4] + 1) or '1'
                    call('SET', key .. ':lock', token, 'PXAT', expiry)
                    call('HSET', key, 'processedOn', nowText, 'pb', token, 'ats', job[4])
                    if job[6] then call('HDEL', key, 'defa') end
                    if FULL then
                        call('XADD', events, '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
                    end
                    started[#started + 1] = id
                    local at = #taken
                    taken[at + 1], taken[at + 2] = class, id
                    hand(class, id, job)
                end
            end
            if index > 0 then
                local back = {}
                for i = #popped, index, -1 do back[#back + 1] = popped[i] end
                call('RPUSH', base .. 'wait', unpack(back))
            end
            if #started > 0 then
                call('LPUSH', base .. 'active', unpack(started))
                if meta[3] and meta[4] then
                    local starts = private .. 'starts:' .. classOf(base)
                    for i = 1, #started do call('ZADD', starts, now, token .. ':' .. class .. ':' .. i) end
                    call('PEXPIRE', starts, tonumber(meta[4]) + 1000)
                end
            end
            if (want == wants[class] or meta[2])
                and (call('LLEN', base .. 'wait') > 0 or call('EXISTS', base .. 'prioritized') == 1) then
                wake(base, meta[1], meta[2])
            end
        end
    end
    later(heads[class])
end

if #taken > 0 then
    -- Asking for the n-th means that the reply before it arrived.
    call('HSET', took, 'n', n, 'ids', cmsgpack.pack(taken), 'seen', n - 1)
    call('PEXPIRE', took, 60000)
end
return answer(due)
