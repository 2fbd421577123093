-- Whether a worker may end a job that it holds by its word. Part of finish and release.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  function `standing(base, id, token, lock, ats)`: 0 holds it, or 1, 2, -1, -2, -3, -6 (QUEUE.md 5.4)
-- Cost     O(1) with the lock, O(a) without
-- `ats` tells whether a worker of another kind, which signs nothing, had the job meanwhile; nil: not known.
local function standing(base, id, token, lock, ats)
    if lock == token then return 0 end
    if lock then
        if call('EXISTS', base .. id) == 0 then return -1 end
        return -6
    end
    local job = call('HMGET', base .. id, 'pb', 'finishedOn', 'timestamp', 'ats')
    if not job[1] and not job[3] then
        if call('EXISTS', base .. id) == 0 then return -1 end
    end
    if job[1] ~= token or (ats and job[4] ~= ats) then return -2 end
    if job[2] then return 1 end
    if call('LPOS', base .. 'active', id, 'RANK', -1) then return 2 end
    if call('ZSCORE', base .. 'delayed', id) then return 1 end
    -- A retry at once went to the head of `wait`; the bound keeps a repeat cheap.
    if call('LPOS', base .. 'wait', id, 'RANK', -1, 'MAXLEN', 1000) then return 1 end
    return -2
end
