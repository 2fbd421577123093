-- Gives jobs of one queue back unfinished, to the head of `wait`, in their order.
-- KEYS     open, base
-- ARGV     generation, then per job: id, token
-- Returns  now, then per job a code as `finish` has it
-- Cost     O(a) per job
local base = KEYS[2]
local count = (#ARGV - 1) / 2
if not base or count < 1 or count > 256 or count ~= math.floor(count) then
    return badArgument('release: 1 to 256 jobs of 2 arguments')
end
local keys = {}
for i = 2, #ARGV, 2 do keys[#keys + 1] = base .. ARGV[i] .. ':lock' end
checkTypes(base)
local meta = call('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
local locks = call('MGET', unpack(keys))
call('DEL', base)

local codes, ids, job = { now }, {}, 0
for i = 2, #ARGV, 2 do
    job = job + 1
    local id = ARGV[i]
    local code = standing(base, id, ARGV[i + 1], locks[job])
    if code == 0 or code == 2 then
        if call('LREM', base .. 'active', -1, id) == 0 then
            code = -3
        else
            call('DEL', keys[job])
            call('HDEL', base .. id, 'pb')
            if FULL then call('XADD', base .. 'events', '*', 'event', 'waiting', 'jobId', id, 'prev', 'active') end
            ids[#ids + 1] = id
        end
    end
    codes[#codes + 1] = code
end
if #ids > 0 then
    local back = {}
    for i = #ids, 1, -1 do back[#back + 1] = ids[i] end
    call('RPUSH', base .. 'wait', unpack(back))
    call('SREM', base .. 'stalled', unpack(ids))
    wake(base, meta[1], meta[2])
    trimEvents(base, meta[3])
end
return codes
