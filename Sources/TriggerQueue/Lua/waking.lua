-- Telling workers that something can be taken. Part of the scripts that make it so.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  functions `isPausedOrFull(base, paused, concurrency)` and `wake(base, paused, concurrency)`
-- Cost     O(1)
local function isPausedOrFull(base, paused, concurrency)
    if paused then return true end
    return concurrency and call('LLEN', base .. 'active') >= tonumber(concurrency)
end

-- Wakes one worker, unless it could take nothing.
local function wake(base, paused, concurrency)
    if not isPausedOrFull(base, paused, concurrency) then call('ZADD', base .. 'marker', '0', '0') end
end
