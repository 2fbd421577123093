-- What several scripts do.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  functions
-- Cost     O(1)
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

local function trimEvents(base, limit) call('XTRIM', base .. 'events', 'MAXLEN', '~', limit or '10000') end
--@waking
--@dues
