-- Counters of budget windows that several stores share. All keys carry one hash tag, so that they lie on one node.
--
-- KEYS  1 mark of this server's data  2 unsent holds by their expiry  3 open holds of the store  4 the hold
--       5.. the windows
-- ARGV  1 hold | again | sent | close  2 store  3 a fresh mark  4 cost  5 tokens  6 force, 0 or 1
--       7 how long a hold stands that is not sent, ms
--       8.. six for each window: cap of cost, cap of tokens (empty: none), revision, spent cost, spent tokens of the
--           store, for how long the window is kept, ms
-- Gives {word, mark, window, measure, used} or {word, mark, {window, measure, percent, used, cap}, …}.
--
-- A store says how much it has spent itself, with a revision, so that telling it twice or late changes nothing. What is
-- reserved is the sum of the holds. Numbers stay below 2^53, where doubles are exact; counters are 64-bit integers.
-- Only this server's clock is asked: those of the stores may disagree.

local op, store, mark = ARGV[1], ARGV[2], ARGV[3]
local asked = {cost = ARGV[4], tokens = ARGV[5]}
local force, unsent_ms = ARGV[6] == '1', tonumber(ARGV[7])
local holds = KEYS[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local measures = {'cost', 'tokens'}
local windows = {}

for place = 5, #KEYS do
    local at = 8 + (place - 5) * 6
    windows[#windows + 1] = {
        key = KEYS[place], caps = {cost = ARGV[at], tokens = ARGV[at + 1]}, revision = tonumber(ARGV[at + 2]),
        spent = {cost = ARGV[at + 3], tokens = ARGV[at + 4]}, kept_ms = tonumber(ARGV[at + 5]),
    }
end

local function text(value)
    return string.format('%.0f', value)
end

local function number(key, field)
    return tonumber(redis.call('HGET', key, field) or '0')
end

local function publish(window)
    local known = redis.call('HGET', window.key, 'revision:' .. store)
    if not known or window.revision > tonumber(known) then
        for _, measure in ipairs(measures) do
            local own = 'spent_' .. measure .. ':' .. store
            local moved = tonumber(window.spent[measure]) - number(window.key, own)
            redis.call('HINCRBY', window.key, 'spent_' .. measure, text(moved))
            redis.call('HSET', window.key, own, window.spent[measure])
        end
        redis.call('HSET', window.key, 'revision:' .. store, text(window.revision))
    end
    redis.call('PEXPIRE', window.key, text(window.kept_ms))
end

-- Give back what a hold keeps, in all its windows.
local function free(hold)
    local found = redis.call('HMGET', hold, 'cost', 'tokens', 'windows', 'open')
    if not found[1] then return end
    for key in string.gmatch(found[3], '[^\n]+') do
        -- A window that is over has been forgotten, and is not made again.
        if redis.call('EXISTS', key) == 1 then
            redis.call('HINCRBY', key, 'reserved_cost', text(0 - tonumber(found[1])))
            redis.call('HINCRBY', key, 'reserved_tokens', text(0 - tonumber(found[2])))
        end
    end
    redis.call('DEL', hold)
    redis.call('ZREM', holds, hold)
    redis.call('SREM', found[4], hold)
end

local function exceeded()
    for place, window in ipairs(windows) do
        for _, measure in ipairs(measures) do
            local wanted, cap = tonumber(asked[measure]), window.caps[measure]
            local used = number(window.key, 'spent_' .. measure) + number(window.key, 'reserved_' .. measure)
            -- What costs nothing passes an exhausted cap.
            if cap ~= '' and wanted > 0 and used + wanted > tonumber(cap) then
                return {'exceeded', mark, place, measure, text(used)}
            end
        end
    end
end

local function take()
    local found = redis.call('HMGET', KEYS[4], 'cost', 'tokens')
    if found[1] then
        return {(found[1] == asked.cost and found[2] == asked.tokens) and 'ok' or 'conflict', mark}
    end
    local refused = not force and exceeded()
    if refused then return refused end
    local names, kept_ms = {}, unsent_ms
    for _, window in ipairs(windows) do
        redis.call('HINCRBY', window.key, 'reserved_cost', asked.cost)
        redis.call('HINCRBY', window.key, 'reserved_tokens', asked.tokens)
        names[#names + 1] = window.key
        kept_ms = math.max(kept_ms, window.kept_ms)
    end
    redis.call('HSET', KEYS[4], 'cost', asked.cost, 'tokens', asked.tokens,
        'windows', table.concat(names, '\n'), 'open', KEYS[3])
    redis.call('PEXPIRE', KEYS[4], text(kept_ms))
    redis.call('SADD', KEYS[3], KEYS[4])
    if not force then redis.call('ZADD', holds, text(now + unsent_ms), KEYS[4]) end
    return {'ok', mark}
end

-- What passed 80 or 95 per cent and was not told yet.
local function alerts(answer)
    for place, window in ipairs(windows) do
        for _, measure in ipairs(measures) do
            local cap = tonumber(window.caps[measure] ~= '' and window.caps[measure] or '0')
            local used, told = number(window.key, 'spent_' .. measure), 'told_' .. measure
            local passed = (cap > 0 and used * 100 >= cap * 95) and 95 or (cap > 0 and used * 100 >= cap * 80) and 80 or 0
            if passed > number(window.key, told) then
                redis.call('HSET', window.key, told, passed)
                answer[#answer + 1] = {place, measure, passed, text(used), window.caps[measure]}
            end
        end
    end
    return answer
end

if not redis.call('SET', KEYS[1], mark, 'NX') then mark = redis.call('GET', KEYS[1]) end
-- Holds of processes that died between taking one and sending: nothing was sent under them, so they are given back.
for _, hold in ipairs(redis.call('ZRANGEBYSCORE', holds, '-inf', now, 'LIMIT', 0, 100)) do free(hold) end
for _, window in ipairs(windows) do publish(window) end

if op == 'hold' then return take() end
if op == 'again' then
    -- Another attempt at a call that was charged for the one before: it has to fit once more. It is about to be sent.
    free(KEYS[4])
    local answer = take()
    redis.call('ZREM', holds, KEYS[4])
    return answer
end
if op == 'sent' then
    if redis.call('EXISTS', KEYS[4]) == 0 then return {'gone', mark} end
    -- From here on it stands until its store closes it, or its windows are over: it may have been billed.
    redis.call('ZREM', holds, KEYS[4])
    return {'ok', mark}
end
free(KEYS[4])
return alerts({'ok', mark})
