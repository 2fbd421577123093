-- Gives dead jobs another life, under their ids.
-- KEYS     open, base, and the base to move them to when that is another queue
-- ARGV     generation, cutoff (server ms; later deaths stay, 0: none), resetAttempts (0 or 1), delay (ms), then ids (1 to
--          500)
-- Returns  now, then per id: 1 moved, 2 not dead, 3 died after the cutoff, 4 unknown
-- Cost     O(log n) per id
local base, target = KEYS[2], KEYS[3] or KEYS[2]
local cutoff, delay = tonumber(ARGV[2]), tonumber(ARGV[4])
if not cutoff or not delay or delay < 0 or #ARGV < 5 or #ARGV > 504 then return badArgument('requeue: 1 to 500 ids') end
checkTypes(base)
if target ~= base then checkTypes(target) end
local meta = call('HMGET', target .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
call('DEL', base)

local codes, pushed, delayed = { now }, {}, false
for i = 5, #ARGV do
    local id, code = ARGV[i], 1
    local death = call('ZSCORE', base .. 'failed', id)
    if not death then
        code = call('EXISTS', base .. id) == 1 and 2 or 4
    elseif cutoff > 0 and tonumber(death) > cutoff then
        code = 3
    elseif target ~= base and call('EXISTS', target .. id) == 1 then
        code = 2
    else
        local key = target .. id
        call('ZREM', base .. 'failed', id)
        if target ~= base then call('RENAME', base .. id, key) end
        call('HDEL', key, 'finishedOn', 'processedOn', 'failedReason', 'stacktrace', 'pb')
        if ARGV[3] == '1' then
            call('HDEL', key, 'atm', 'ats', 'stc')
        elseif (tonumber(call('HGET', key, 'stc') or 0) or 0) > 10 then
            -- It may crash once more.
            call('HSET', key, 'stc', '10')
        end
        call('HSET', key, 'delay', ARGV[4])
        if delay > 0 then
            local due = now + delay
            delayed = true
            call('ZADD', target .. 'delayed', delayedScore(target, due), id)
            call('XADD', target .. 'events', '*', 'event', 'delayed', 'jobId', id, 'delay', due)
        else
            pushed[#pushed + 1] = id
            call('XADD', target .. 'events', '*', 'event', 'waiting', 'jobId', id, 'prev', 'failed')
        end
    end
    codes[#codes + 1] = code
end
if #pushed > 0 then
    call('LPUSH', target .. 'wait', unpack(pushed))
    wake(target, meta[1], meta[2])
end
if delayed then wakeLater(target) end
if #pushed > 0 or delayed then trimEvents(target, meta[3]) end
return codes
