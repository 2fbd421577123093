-- Offers jobs to one queue, each at most once.
-- KEYS     open, base
-- ARGV     generation, mode (`new` or `verify`), cap (0: none), opts and delay (ms) of all, then per job: id, name, data
-- Returns  now, then per job: 1 queued, 2 live, 3 completed, 4 dead, 5 healed, 6 replaced, 7 full
-- Cost     O(1) per new job, O(log n) per known one; `verify` adds one pass over `wait` and `active`, at most 10,000
--
-- No DEL first: an offer is the one call that a full Redis refuses, as a whole.
local base, mode, cap = KEYS[2], ARGV[2], tonumber(ARGV[3])
local count = (#ARGV - 5) / 3
if not base or not cap or count < 1 or count > 256 or count ~= math.floor(count) then
    return badArgument('offer: 1 to 256 jobs of 3 arguments')
end
if mode ~= 'new' and mode ~= 'verify' then return badArgument('offer: mode') end
if not string.find(ARGV[5], '^%d+$') then return badArgument('offer: delay') end
local opts, delayText, delay = ARGV[4], ARGV[5], tonumber(ARGV[5])

-- Lengths of what may be written, for their types; the sets of finished jobs are read before a write anyway.
local waiting = call('LLEN', base .. 'wait')
call('ZCARD', base .. 'delayed')
call('ZCARD', base .. 'marker')
call('XLEN', base .. 'events')
local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents', 'version')

local keys = {}
for i = 6, #ARGV, 3 do keys[#keys + 1] = base .. ARGV[i] end
local anyKnown = call('EXISTS', unpack(keys)) > 0

-- Jobs that stand in `wait` or `active`, read once and only when a job has to be looked for.
local listed
local function isListed(id)
    if not listed then
        listed = {}
        for _, list in ipairs({ 'wait', 'active' }) do
            if call('LLEN', base .. list) > 10000 then
                listed.all = true
            else
                for _, each in ipairs(call('LRANGE', base .. list, 0, -1)) do listed[':' .. each] = true end
            end
        end
    end
    return listed.all or listed[':' .. id]
end

local function classify(id)
    local key = base .. id
    if call('ZSCORE', base .. 'completed', id) then return 3 end
    if call('ZSCORE', base .. 'failed', id) then
        local reason = call('HGET', key, 'failedReason') or ''
        if string.find(reason, '^BODY_MISSING') or string.find(reason, '^UNDECODABLE') then return 6 end
        return 4
    end
    if mode == 'new' or call('ZSCORE', base .. 'delayed', id) or call('ZSCORE', base .. 'prioritized', id) then
        return 2
    end
    if call('EXISTS', key .. ':lock') == 1 or isListed(id) then return 2 end
    return 5
end

-- First all answers, then all writes.
local codes, fresh, seen = { now }, 0, {}
local isEasy = not anyKnown and (cap == 0 or waiting + count <= cap)
for i = 6, #ARGV, 3 do
    local id, code = ARGV[i], 1
    if seen[id] then
        code = 2
    elseif not isEasy then
        if anyKnown and call('EXISTS', base .. id) == 1 then
            code = classify(id)
        elseif cap > 0 and waiting + fresh >= cap then
            code = 7
        end
    end
    if code == 1 or code == 5 or code == 6 then
        seen[id] = true
        fresh = fresh + 1
    end
    codes[#codes + 1] = code
end

local events = base .. 'events'
local pushed, delayed, job = {}, false, 1
for i = 6, #ARGV, 3 do
    job = job + 1
    local id, code = ARGV[i], codes[job]
    local key = keys[job - 1]
    if code == 1 or code == 6 then
        if code == 6 then
            call('ZREM', base .. 'failed', id)
            call('HDEL', key, 'finishedOn', 'processedOn', 'failedReason', 'stacktrace', 'pb', 'returnvalue')
        end
        call('HSET', key, 'name', ARGV[i + 1], 'data', ARGV[i + 2], 'opts', opts, 'timestamp', nowText,
            'delay', delayText, 'priority', '0')
    end
    if code == 1 or code == 5 or code == 6 then
        if delay > 0 and code ~= 5 then
            delayed = true
            local due = now + delay
            call('ZADD', base .. 'delayed', delayedScore(base, due), id)
            call('XADD', events, '*', 'event', 'delayed', 'jobId', id, 'delay', due)
        else
            pushed[#pushed + 1] = id
            if FULL then call('XADD', events, '*', 'event', 'waiting', 'jobId', id) end
        end
    elseif code ~= 7 then
        call('XADD', events, '*', 'event', 'duplicated', 'jobId', id)
    end
end

if fresh > 0 then
    if not meta[4] then
        call('HSET', base .. 'meta', 'version', 'bullmq:6.0.0')
        if not meta[3] then call('HSET', base .. 'meta', 'opts.maxLenEvents', 10000) end
    end
    call('INCRBY', base .. 'id', fresh)
    if #pushed > 0 then
        call('LPUSH', base .. 'wait', unpack(pushed))
        wake(base, meta[1], meta[2])
    end
    if delayed then wakeLater(base) end
end
trimEvents(base, meta[3])
return codes
