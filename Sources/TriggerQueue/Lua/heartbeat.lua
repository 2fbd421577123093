-- Renews the leases of a worker in one partition, and notes which of its takes it received.
-- KEYS     open, bases of stops, targets, housekeeping, private base
-- ARGV     generation, worker, seen (highest n whose reply arrived), leaseMs, then per job: class (1 to 3), id, token
-- Returns  now, then the positions (from 1) of lost jobs
-- Cost     O(jobs); O(a) for a job whose lock is gone
local worker, seen, leaseMs = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local count = (#ARGV - 4) / 3
if not seen or not leaseMs or count < 0 or count > 256 or count ~= math.floor(count) then
    return badArgument('heartbeat: up to 256 jobs of 3 arguments')
end
local keys = {}
for i = 5, #ARGV, 3 do
    local class = tonumber(ARGV[i])
    if not class or class < 1 or class > 3 then return badArgument('heartbeat: class') end
    keys[#keys + 1] = KEYS[class + 1] .. ARGV[i + 1]
end
for class = 1, 3 do call('LLEN', KEYS[class + 1] .. 'active') end

call('DEL', KEYS[2])
local took = private .. 'took:' .. worker
call('HSET', took, 'seen', seen)
call('PEXPIRE', took, 60000)

local reply = { now }
if #keys == 0 then return reply end
local lockKeys = {}
for i, key in ipairs(keys) do lockKeys[i] = key .. ':lock' end
local locks = call('MGET', unpack(lockKeys))
for i, key in ipairs(keys) do
    local id, token = ARGV[3 * i + 3], ARGV[3 * i + 4]
    if locks[i] == token then
        call('PEXPIRE', lockKeys[i], leaseMs)
    else
        local isMine = false
        if not locks[i] then
            local job = call('HMGET', key, 'pb', 'finishedOn')
            -- Nobody took over, and it was not finished while this call was on its way.
            isMine = job[1] == token and not job[2]
                and call('LPOS', KEYS[ARGV[3 * i + 2] + 1] .. 'active', id, 'RANK', -1)
        end
        if isMine then
            call('SET', lockKeys[i], token, 'PX', leaseMs)
        else
            reply[#reply + 1] = i
        end
    end
end
return reply
