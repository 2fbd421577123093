-- Removes what waits. Never active, completed or dead jobs.
-- KEYS     open, base, private base
-- ARGV     generation, includeDelayed (0 or 1)
-- Returns  the ids removed, up to 500: call again until empty
-- Cost     O(removed)
local base = KEYS[2]
if #ARGV ~= 2 then return badArgument('drain: 2 arguments') end
checkTypes(base)
call('DEL', base)
local ids = call('RPOP', base .. 'wait', 500) or {}
if #ids < 500 then
    local popped = call('ZPOPMIN', base .. 'prioritized', 500 - #ids)
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
end
if #ids < 500 and ARGV[2] == '1' then
    local popped = call('ZPOPMIN', base .. 'delayed', 500 - #ids)
    for i = 1, #popped, 2 do
        ids[#ids + 1] = popped[i]
        call('SREM', private .. 'retry:' .. classOf(base), popped[i])
    end
end
local keys = {}
for i, id in ipairs(ids) do
    keys[2 * i - 1] = base .. id
    keys[2 * i] = base .. id .. ':logs'
    call('XADD', base .. 'events', '*', 'event', 'removed', 'jobId', id, 'prev', 'waiting')
end
if #keys > 0 then
    call('UNLINK', unpack(keys))
    trimEvents(base, call('HGET', base .. 'meta', 'opts.maxLenEvents'))
end
return ids
