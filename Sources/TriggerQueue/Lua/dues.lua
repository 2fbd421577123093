-- When a delayed job is next. Part of the scripts that delay or promote.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  functions `nextDue(base)`: due time of the first delayed job in ms, or nil; `wakeLater(base)`: tells workers
-- Cost     O(1)
local function nextDue(base)
    local first = call('ZRANGE', base .. 'delayed', '0', '0', 'WITHSCORES')
    if first[2] then return math.floor(first[2] / 4096) end
end

local function wakeLater(base)
    local due = nextDue(base)
    if due then call('ZADD', base .. 'marker', text(due), '1') end
end
