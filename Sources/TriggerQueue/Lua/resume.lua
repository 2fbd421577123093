-- Lets a queue hand out jobs again, whoever paused it.
-- KEYS     open, base, private base
-- ARGV     generation
-- Returns  how many jobs are left in the list `paused` of an old client: call again until 0
-- Cost     O(moved), at most 7,000
local base = KEYS[2]
checkTypes(base)
call('LLEN', base .. 'paused')
call('DEL', base)
local legacy = call('LRANGE', base .. 'paused', 0, 6999)
if #legacy > 0 then
    -- In front of what waits: they are older.
    call('RPUSH', base .. 'wait', unpack(legacy))
    call('LTRIM', base .. 'paused', #legacy, -1)
end
call('HDEL', base .. 'meta', 'paused')
call('HDEL', private .. 'paused', classOf(base))
call('XADD', base .. 'events', '*', 'event', 'resumed')
if call('LLEN', base .. 'wait') > 0 or call('ZCARD', base .. 'prioritized') > 0 then
    wake(base, false, call('HGET', base .. 'meta', 'concurrency'))
end
wakeLater(base)
return call('LLEN', base .. 'paused')
