-- Takes jobs of one partition for a worker, stops first, each with a lease.
-- KEYS     open, bases of stops, targets, housekeeping, private base
-- ARGV     generation, worker, n, leaseMs, then how many of each class (at most 128 in all), then whether a suspect may be
--          given: 0 as the first and last of the call, 1 no, 2 no, and nobody is woken for it: the worker has one in hand
-- Returns  now, next due ms or 0, how many jobs of each class, then all jobs (id, head, data), then ids without body (class,
--          id). A head is empty for the first delivery of a `trigger`, else: atm, ats, stc and name, parted by blanks
-- Cost     O(jobs) + O(log n) per promoted or prioritized job
--
-- The same n again returns the same jobs, as far as their locks still hold: a reply that was lost is repeated. Who got the
-- reply deletes `ids` of `took:<worker>`, with a plain HDEL right behind it; asking for the next n says the same.
local worker, n, leaseMs = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local wants = { tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]) }
if #ARGV ~= 8 or not n or not leaseMs or #wants ~= 3 or wants[1] + wants[2] + wants[3] > 128 then
    return redis.error_reply('BADARG take: 8 arguments, at most 128 jobs')
end
local token = worker .. ':' .. ARGV[3]
local took = private .. 'took:' .. worker
-- One flat list: each nested one costs as much as a command.
local reply, size, due = { now, 0, 0, 0, 0 }, 5, 0

-- Reads first: which classes have something, and no key of a wrong type. Mostly `wait` of the stops alone is there.
local states, anything = {}, false
local stops, targets, housekeeping = KEYS[2], KEYS[3], KEYS[4]
local rare = call('EXISTS', stops .. 'prioritized', stops .. 'delayed', stops .. 'limiter', targets .. 'wait',
    targets .. 'prioritized', targets .. 'delayed', housekeeping .. 'wait', housekeeping .. 'prioritized',
    housekeeping .. 'delayed')
if rare > 0 then
    --@dues
    for class = 1, 3 do
        local base = KEYS[class + 1]
        if wants[class] > 0 then
            local state = {
                waiting = call('LLEN', base .. 'wait'),
                prioritized = call('ZCARD', base .. 'prioritized'),
                head = nextDue(base),
            }
            if state.waiting > 0 or state.prioritized > 0 or (state.head and state.head <= now) then
                call('ZCARD', base .. 'marker')
                state.limiter = call('GET', base .. 'limiter')
                states[class] = state
                anything = true
            elseif state.head and (due == 0 or state.head < due) then
                due = state.head
            end
        end
    end
elseif wants[1] > 0 then
    local waiting = call('LLEN', stops .. 'wait')
    if waiting > 0 then
        if waiting > wants[1] then call('ZCARD', stops .. 'marker') end
        states[1] = { waiting = waiting, prioritized = 0 }
        anything = true
    end
end

local last = call('HMGET', took, 'n', 'ids', 'expiry')
if last[1] then
    local lastN = tonumber(last[1])
    if lastN > n then return reply end
    if lastN == n and last[2] then
        local ids = cmsgpack.unpack(last[2])
        for i = 1, #ids, 2 do
            local class, id = ids[i], ids[i + 1]
            local key = KEYS[class + 1] .. id
            if call('GET', key .. ':lock') == token then
                local job = call('HMGET', key, 'atm', 'ats', 'stc', 'name', 'data')
                reply[size + 1] = id
                reply[size + 2] = (job[1] or '0') .. ' ' .. (job[2] or '0') .. ' ' .. (job[3] or '0') .. ' '
                    .. (job[4] or '')
                reply[size + 3] = job[5]
                size = size + 3
                reply[class + 2] = reply[class + 2] + 1
            end
        end
        return reply
    end
end
reply[2] = due
if not anything then return reply end

local broken, breaks = {}, 0
local expiry = text(now + leaseMs)
local taken, takes, suspect = { false, false }, 0, false
for class = 1, 3 do
    local state, base = states[class], KEYS[class + 1]
    if state and not suspect then
        local events, active = base .. 'events', base .. 'active'
        call('LLEN', active)
        if FULL then call('XLEN', events) end
        local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'max', 'duration')
        if state.head and state.head <= now then
            --@dues
            --@promoting
            promoteDue(base, 100)
            state.head = nextDue(base)
            state.waiting, state.prioritized = call('LLEN', base .. 'wait'), call('ZCARD', base .. 'prioritized')
        end
        local want = wants[class]
        if meta[1] then
            want = 0
        elseif meta[2] or meta[3] or state.limiter then
            -- How many may start now, with a limit on what is active or on starts.
            if meta[2] then want = math.min(want, tonumber(meta[2]) - call('LLEN', active)) end
            local free = 0
            if (tonumber(state.limiter or 0) or 0) >= 9007199254740991 then
                free = call('PTTL', base .. 'limiter')
                if free > 0 then want = 0 end
            end
            if meta[3] and meta[4] and want > 0 then
                local starts, window = private .. 'starts:' .. string.match(base, '}%-(.+):$'), tonumber(meta[4]) + 20
                call('ZREMRANGEBYSCORE', starts, '-inf', text(now - window))
                local room = tonumber(meta[3]) - call('ZCARD', starts)
                if room < want then
                    want = room
                    local oldest = call('ZRANGE', starts, '0', '0', 'WITHSCORES')
                    if oldest[2] then free = oldest[2] + window + 1 - now end
                end
            end
            if free > 0 and (due == 0 or now + free < due) then due = now + free end
        end
        if want > 0 then
            -- The first write: what takes away is let through by a full Redis, and all that follows with it.
            local popped = call('RPOP', base .. 'wait', text(want)) or {}
            local left = state.waiting + state.prioritized - #popped
            if #popped < want and state.prioritized > 0 then
                local order = call('ZPOPMIN', base .. 'prioritized', text(want - #popped))
                for i = 1, #order, 2 do popped[#popped + 1] = order[i] end
                left = left - #order / 2
                if state.prioritized == #order / 2 then call('DEL', base .. 'pc') end
            end
            local started, starts, index, isStuck, isPassed = { false }, 0, 0, false, false
            for i, id in ipairs(popped) do
                local key = base .. id
                local job = call('HMGET', key, 'name', 'data', 'ats')
                local name, data, ats = job[1], job[2], job[3]
                local atm, stc, defa
                if ats then
                    local rest = call('HMGET', key, 'atm', 'stc', 'defa')
                    atm, stc, defa = rest[1], rest[2], rest[3]
                end
                local isBare = not name and not data
                if isBare or (class > 1 and defa) then
                    -- Dead instead of taken; `defa`: an official stalled check gave it up (QUEUE.md 3.2). Where the dead set
                    -- cannot be written the job stays, until `reclaim` has repaired that.
                    local reason = isBare and 'BODY_MISSING: the job has no body' or 'STALLED: ' .. defa
                    if type(redis.pcall('ZADD', base .. 'failed', nowText, id)) ~= 'number' then
                        isStuck = true
                        index = i
                        break
                    end
                    if isBare then
                        call('HSET', key, 'name', 'trigger', 'data', '{}', 'opts', '{}', 'timestamp', nowText,
                            'delay', '0', 'priority', '0')
                        broken[breaks + 1], broken[breaks + 2] = class, id
                        breaks = breaks + 2
                    end
                    call('HSET', key, 'failedReason', reason, 'finishedOn', nowText)
                    call('XADD', events, '*', 'event', 'failed', 'jobId', id, 'failedReason', reason, 'prev', 'waiting')
                else
                    -- A job that crashed workers twice runs alone, so that it cannot take others down with it.
                    local isSuspect = stc and tonumber(stc) >= 2
                    if suspect or (isSuspect and (takes > 0 or ARGV[8] ~= '0')) then
                        isPassed = ARGV[8] == '2'
                        index = i
                        break
                    end
                    suspect = isSuspect
                    ats = ats and text(ats + 1) or '1'
                    -- GET saves the reply, a table, when there was no lock.
                    call('SET', key .. ':lock', token, 'PXAT', expiry, 'GET')
                    call('HSET', key, 'processedOn', nowText, 'pb', token, 'ats', ats)
                    if defa then call('HDEL', key, 'defa') end
                    if FULL then
                        call('XADD', events, '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
                    end
                    starts = starts + 1
                    started[starts] = id
                    taken[takes + 1], taken[takes + 2] = class, id
                    takes = takes + 2
                    -- A job that is delivered for the first time has nothing but name and data.
                    local first = ''
                    if ats ~= '1' or name ~= 'trigger' or atm or stc then
                        first = (atm or '0') .. ' ' .. ats .. ' ' .. (stc or '0') .. ' ' .. (name or '')
                    end
                    reply[size + 1], reply[size + 2], reply[size + 3] = id, first, data
                    size = size + 3
                end
            end
            if index > 0 then
                local back = {}
                for i = #popped, index, -1 do back[#back + 1] = popped[i] end
                call('RPUSH', base .. 'wait', unpack(back))
                left = left + #back
            end
            if starts > 0 then
                reply[class + 2] = starts
                call('LPUSH', active, unpack(started))
                if meta[3] and meta[4] then
                    local key = private .. 'starts:' .. string.match(base, '}%-(.+):$')
                    for i = 1, starts do call('ZADD', key, nowText, token .. ':' .. class .. ':' .. i) end
                    call('PEXPIRE', key, text(meta[4] + 1000))
                end
            end
            if left > 0 and not isStuck and not isPassed and (want == wants[class] or meta[2]) then
                --@waking
                wake(base, meta[1], meta[2])
            end
        end
    end
    if state and state.head and (due == 0 or state.head < due) then due = state.head end
end

reply[2] = due
for i = 1, breaks do reply[size + i] = broken[i] end
if takes > 0 then
    -- Kept for 60 s; said again every 10 s only.
    if tonumber(last[3] or 0) < now + 50000 then
        call('HSET', took, 'n', ARGV[3], 'ids', cmsgpack.pack(taken), 'expiry', text(now + 60000))
        call('PEXPIRE', took, '60000')
    else
        call('HSET', took, 'n', ARGV[3], 'ids', cmsgpack.pack(taken))
    end
end
return reply
