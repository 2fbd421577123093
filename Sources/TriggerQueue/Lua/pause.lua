-- Stops a queue from handing out jobs. Running ones go on, offers go on, the order is kept.
-- KEYS     open, base, private base
-- ARGV     generation, for how long (ms; 0: until resumed), by whom, reason
-- Returns  0
-- Cost     O(1)
--
-- A duration, because no client's clock counts here.
local base, period = KEYS[2], tonumber(ARGV[2])
if not period or period < 0 or #ARGV ~= 4 then return badArgument('pause: 4 arguments') end
checkTypes(base)
call('DEL', base)
local till = period > 0 and now + period or 0
call('HSET', private .. 'paused', classOf(base), string.format('%d %s %s', till, ARGV[3], ARGV[4]))
call('HSET', base .. 'meta', 'paused', '1')
call('DEL', base .. 'marker')
call('XADD', base .. 'events', '*', 'event', 'paused')
return 0
