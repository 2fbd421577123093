-- Removes finished jobs by age.
-- KEYS     open, base
-- ARGV     generation, state (`dead` or `completed`), age (ms), limit (1 to 500)
-- Returns  the ids removed
-- Cost     O(log n + removed)
local base, age, limit = KEYS[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local set = ({ dead = 'failed', completed = 'completed' })[ARGV[2] or '']
if not set or not age or not limit or limit < 1 or limit > 500 then return badArgument('clean: state, age, limit') end
checkTypes(base)
call('DEL', base)
local ids = call('ZRANGEBYSCORE', base .. set, '-inf', now - age, 'LIMIT', 0, limit)
if #ids == 0 then return ids end
local keys = {}
for i, id in ipairs(ids) do
    keys[2 * i - 1] = base .. id
    keys[2 * i] = base .. id .. ':logs'
end
call('ZREM', base .. set, unpack(ids))
call('UNLINK', unpack(keys))
call('XADD', base .. 'events', '*', 'event', 'cleaned', 'count', #ids)
return ids
