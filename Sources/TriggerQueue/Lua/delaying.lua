-- Placing a job in `delayed`. Part of the scripts that delay.
-- KEYS     those of the script
-- ARGV     those of the script
-- Returns  function `delayedScore(base, due)`
-- Cost     O(log n), and O(log n) per 4,096 jobs of one ms, once per call
local lastScores = {}

-- FIFO inside a millisecond; a full one continues into the next.
local function delayedScore(base, due)
    local key = base .. due
    local score = lastScores[key]
    if not score then
        local ms = due
        while true do
            local top = call('ZREVRANGEBYSCORE', base .. 'delayed', ms * 4096 + 4095, ms * 4096, 'LIMIT', 0, 1)[1]
            if not top then
                score = ms * 4096 - 1
                break
            end
            score = tonumber(call('ZSCORE', base .. 'delayed', top))
            if score < ms * 4096 + 4095 then break end
            ms = ms + 1
        end
    end
    score = score + 1
    -- A run that just filled its millisecond may meet entries in the next one: search again from there.
    if score % 4096 == 4095 then lastScores[key] = nil else lastScores[key] = score end
    return score
end
