-- Start of every script: the gate and the clock. Runs in front of each of them.
-- KEYS     open key of the partition, then bases of queues
-- ARGV     <deployment>:<generation>
-- Returns  nothing, or the error CLOSED, FOREIGN or GENERATION
-- Cost     O(1)
--
-- A line `--@name` stands for the part of that name. A function costs about as much as a command each time a script runs,
-- used or not: what is needed seldom stands where it is known to be needed.
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
-- Redis prints a number that is an argument with 17 digits, which costs as much as a small command.
local function text(number) return string.format('%d', number) end
local nowText = text(now)

-- Everything private of the partition starts with this.
local private = string.sub(KEYS[1], 1, -5)
