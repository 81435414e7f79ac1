-- A value that replicas share, and that one of them at a time may replace.
--
-- The hash has `value`, `at` (when it was stored, in ms), `stored` (the number of the claim that stored
-- it), `number` (the latest claim), `holder` and `until` (who has it, and how long, in ms).
--
-- ARGV: action, name of the replica, then
--   claim    the time of the claim in ms      answers { number or 0, value or '', its age in ms }
--   replace  number, value, lifetime in ms    answers { 1 } if it was stored, and { 0 } if a later
--                                             claim has stored one
--   release  number                           answers { 1 }
local action, replica = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local cell = {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  cell[fields[i]] = fields[i + 1]
end

if action == 'claim' then
  local number = 0
  local is_free = not cell['until'] or tonumber(cell['until']) <= now or cell.holder == replica
  if is_free then
    -- The time, so that numbers grow even if Redis loses its data.
    number = math.max((tonumber(cell.number) or 0) + 1, now)
    redis.call('HSET', KEYS[1], 'number', string.format('%.0f', number), 'holder', replica,
      'until', string.format('%.0f', now + ARGV[3]))
  end
  local age = math.max(0, now - (tonumber(cell.at) or now))
  return { number, cell.value or '', age }
end

local number = tonumber(ARGV[3])
if tonumber(cell.number) == number then
  redis.call('HDEL', KEYS[1], 'holder', 'until')
end
if action == 'release' then
  return { 1 }
end
if (tonumber(cell.stored) or 0) > number then
  return { 0 }
end
redis.call('HSET', KEYS[1], 'value', ARGV[4], 'at', string.format('%.0f', now),
  'stored', string.format('%.0f', number))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return { 1 }
