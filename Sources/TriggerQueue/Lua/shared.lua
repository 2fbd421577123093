-- Start of every script: the gate, the clock, and what several scripts do. Runs in front of each of them.
-- KEYS     open key of the partition, then bases of queues
-- ARGV     <deployment>:<generation>
-- Returns  nothing, or the error CLOSED, FOREIGN or GENERATION
-- Cost     O(1)
local call = redis.call
do
    local open = call('GET', KEYS[1])
    if not open then return redis.error_reply('CLOSED this partition is not open') end
    if open ~= ARGV[1] then
        if string.match(open, '^(.*):') ~= string.match(ARGV[1] or '', '^(.*):') then
            return redis.error_reply('FOREIGN this partition belongs to another deployment')
        end
        return redis.error_reply('GENERATION the queue has another generation')
    end
end
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- As text: Redis prints a number that is an argument with 17 digits, which costs as much as a small command.
local nowText = string.format('%d', now)

-- Everything private of the partition starts with this.
local private = string.sub(KEYS[1], 1, -5)

local function badArgument(what) return redis.error_reply('BADARG ' .. what) end

local function classOf(base) return string.match(base, '}%-(.+):$') end

-- A key of the wrong type must fail here, before the first write: Redis does not roll back.
local function checkTypes(base)
    call('LLEN', base .. 'active')
    call('ZCARD', base .. 'delayed')
    call('ZCARD', base .. 'completed')
    call('ZCARD', base .. 'failed')
    call('ZCARD', base .. 'marker')
    call('XLEN', base .. 'events')
    return call('LLEN', base .. 'wait'), call('ZCARD', base .. 'prioritized')
end

local function isPausedOrFull(base, paused, concurrency)
    if paused then return true end
    return concurrency and call('LLEN', base .. 'active') >= tonumber(concurrency)
end

-- Wakes one worker, unless it could take nothing.
local function wake(base, paused, concurrency)
    if not isPausedOrFull(base, paused, concurrency) then call('ZADD', base .. 'marker', '0', '0') end
end

-- Due time of the first delayed job in ms, or nil.
local function nextDue(base)
    local first = call('ZRANGE', base .. 'delayed', 0, 0, 'WITHSCORES')
    if first[2] then return math.floor(first[2] / 4096) end
end

local function wakeLater(base)
    local due = nextDue(base)
    if due then call('ZADD', base .. 'marker', due, '1') end
end

local function trimEvents(base, limit) call('XTRIM', base .. 'events', 'MAXLEN', '~', limit or 10000) end
