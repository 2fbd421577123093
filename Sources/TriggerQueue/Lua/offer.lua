-- Offers jobs to one queue, each at most once.
-- KEYS     open, base
-- ARGV     generation, mode (`new` or `verify`), cap (0: none), opts and delay (ms) of all, crash counts that are known from
--          before (`<number of the job>:<count>`, parted by blanks; mostly empty), then per job: id, name, data
-- Returns  now, then per job: 1 queued, 2 live, 3 completed, 4 dead, 5 healed, 6 replaced, 7 full
-- Cost     O(1) per new job, O(log n) per known one; `verify` adds one pass over `wait` and `active` where they have at
--          most 1,000 jobs. What lies in a longer one is looked for when it is its turn: a thousand orders are verified by
--          hundreds of calls, and a pass over ten thousand in each was all that Redis did
--
-- The first write is one that a full Redis refuses: an offer is the one call that it refuses, as a whole.
local base, mode, cap = KEYS[2], ARGV[2], tonumber(ARGV[3])
local count = (#ARGV - 6) / 3
if not base or not cap or count < 1 or count > 256 or count ~= math.floor(count) then
    return redis.error_reply('BADARG offer: 1 to 256 jobs of 3 arguments')
end
if mode ~= 'new' and mode ~= 'verify' then return redis.error_reply('BADARG offer: mode') end
local opts, delayText, delay = ARGV[4], ARGV[5], tonumber(ARGV[5])
if not delay or delay < 0 or delay ~= math.floor(delay) then return redis.error_reply('BADARG offer: delay') end

-- Of what may be written the types, before anything is. `id` and the marker are the first writes, so that a wrong type
-- there stops the call as well.
local wait, events = base .. 'wait', base .. 'events'
local waiting, told = call('LLEN', wait), call('XLEN', events)
if delay > 0 then
    call('ZCARD', base .. 'delayed')
    call('ZCARD', base .. 'marker')
end
local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents', 'version')

local keys = {}
for job = 1, count do keys[job] = base .. ARGV[3 * job + 4] end
local anyKnown = call('EXISTS', unpack(keys)) > 0

local classify
if anyKnown then
    -- Jobs that stand in `wait` or `active`, read once and only when a job has to be looked for.
    local listed
    local function isListed(id)
        if not listed then
            listed = {}
            for _, list in ipairs({ wait, base .. 'active' }) do
                if call('LLEN', list) > 1000 then
                    listed.all = true
                else
                    for _, each in ipairs(call('LRANGE', list, '0', '-1')) do listed[':' .. each] = true end
                end
            end
        end
        return listed.all or listed[':' .. id]
    end

    classify = function(id)
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
end

-- First all answers, then all writes.
local codes, fresh, pushed, pushes, seen = { now }, 0, {}, 0, {}
local isEasy = not anyKnown and (cap == 0 or waiting + count <= cap)
for job = 1, count do
    local id, code = ARGV[3 * job + 4], 1
    if seen[id] then
        code = 2
    elseif not isEasy then
        if anyKnown and call('EXISTS', keys[job]) == 1 then
            code = classify(id)
        elseif cap > 0 and waiting + fresh >= cap then
            code = 7
        end
    end
    if code == 1 or code == 5 or code == 6 then
        seen[id] = true
        fresh = fresh + 1
        if delay == 0 or code == 5 then
            pushes = pushes + 1
            pushed[pushes] = id
        end
    end
    codes[job + 1] = code
end

local template
if fresh > 0 then
    call('INCRBY', base .. 'id', text(fresh))
    if pushes > 0 then
        -- As `wake` does.
        if not meta[1] and not (meta[2] and call('LLEN', base .. 'active') >= tonumber(meta[2])) then
            call('ZADD', base .. 'marker', '0', '0')
        end
        call('LPUSH', wait, unpack(pushed))
    end
    if not meta[4] then
        call('HSET', base .. 'meta', 'version', 'bullmq:6.0.0')
        if not meta[3] then call('HSET', base .. 'meta', 'opts.maxLenEvents', '10000') end
    end
    -- Many hashes that differ in one field are copies of one: that costs less than to set each field of each.
    if fresh > 7 then
        template = private .. 'template'
        call('DEL', template)
        call('HSET', template, 'name', ARGV[8], 'opts', opts, 'timestamp', nowText, 'delay', delayText, 'priority', '0')
    end
end

if delay > 0 then
    --@dues
    --@delaying
    local due = now + delay
    local dueText = text(due)
    for job = 1, count do
        local code = codes[job + 1]
        if code == 1 or code == 6 then
            local id = ARGV[3 * job + 4]
            call('ZADD', base .. 'delayed', text(delayedScore(base, due)), id)
            call('XADD', events, '*', 'event', 'delayed', 'jobId', id, 'delay', dueText)
        end
    end
    if fresh > pushes then wakeLater(base) end
end

for job = 1, count do
    local code = codes[job + 1]
    local at = 3 * job + 4
    local id = ARGV[at]
    if code == 1 or code == 6 then
        local key = keys[job]
        if code == 6 then
            call('ZREM', base .. 'failed', id)
            call('HDEL', key, 'finishedOn', 'processedOn', 'failedReason', 'stacktrace', 'pb', 'returnvalue')
        end
        if template and code == 1 and ARGV[at + 1] == ARGV[8] then
            call('COPY', template, key)
            call('HSET', key, 'data', ARGV[at + 2])
        else
            call('HSET', key, 'name', ARGV[at + 1], 'data', ARGV[at + 2], 'opts', opts, 'timestamp', nowText,
                'delay', delayText, 'priority', '0')
        end
        if FULL and delay == 0 then call('XADD', events, '*', 'event', 'waiting', 'jobId', id) end
    elseif code == 5 then
        if FULL then call('XADD', events, '*', 'event', 'waiting', 'jobId', id) end
    elseif code ~= 7 and mode == 'new' then
        call('XADD', events, '*', 'event', 'duplicated', 'jobId', id)
    end
end
if template then call('DEL', template) end
if ARGV[6] ~= '' then
    for job, crashes in string.gmatch(ARGV[6], '(%d+):(%d+)') do
        local code, key = codes[job + 1], keys[job + 0]
        if (code == 1 or code == 2 or code == 5 or code == 6)
            and (tonumber(call('HGET', key, 'stc') or 0) or 0) < tonumber(crashes) then
            call('HSET', key, 'stc', crashes)
            -- `take` looks for more than the body where it finds this.
            call('HSETNX', key, 'ats', '0')
        end
    end
end
-- Only whole nodes of the stream go, of about a hundred entries: below that there is nothing to do.
local most = meta[3] or '10000'
if told + count > most + 100 then call('XTRIM', events, 'MAXLEN', '~', most) end
return codes
