-- Puts jobs that died before a loss back among the dead.
-- KEYS     open, base
-- ARGV     generation, opts of all, then per job: id, name, data, atm, stc, reason, age (ms since its death)
-- Returns  now, then per job: 1 restored, 2 known (unchanged)
-- Cost     O(log n) per job
local base, opts = KEYS[2], ARGV[2]
local count = (#ARGV - 2) / 7
if not base or count < 1 or count > 256 or count ~= math.floor(count) then
    return badArgument('restore: 1 to 256 jobs of 7 arguments')
end
checkTypes(base)
call('DEL', base)

local codes = { now }
for i = 3, #ARGV, 7 do
    local id, code = ARGV[i], 2
    local key = base .. id
    if call('EXISTS', key) == 0 then
        local ended = string.format('%d', now - tonumber(ARGV[i + 6]))
        local reason = ARGV[i + 5]
        call('HSET', key, 'name', ARGV[i + 1], 'data', ARGV[i + 2], 'opts', opts, 'timestamp', ended, 'delay', '0',
            'priority', '0', 'atm', ARGV[i + 3], 'ats', ARGV[i + 3], 'finishedOn', ended, 'failedReason', reason,
            'stacktrace', cjson.encode({ reason }))
        if ARGV[i + 4] ~= '0' then call('HSET', key, 'stc', ARGV[i + 4]) end
        call('ZADD', base .. 'failed', ended, id)
        code = 1
    end
    codes[#codes + 1] = code
end
return codes
