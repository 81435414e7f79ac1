-- The polls that replicas share. One replica at a time has the lease of a session, and asks the vendor.
-- It publishes each reply, and the others apply it.
--
-- KEYS: the replicas (a hash: a replica, and how long it lives and how much it has published), and for a
-- session also its lease (a hash: `holder`, `fence`, `number` of the latest reply) and its latest
-- replies (a list, the newest first, each `number:sealed`).
--
-- ARGV: action, name of the replica (`process.generation`), then
--   beat     lifetime in ms, number of publications    answers { time, replica, its expiry,
--                                                        its publications, ... }
--   leave    channel, message                          answers { time }
--   send     channel, message                          answers { time }
--   read                                               answers { time, the newest reply }
--   take     lifetime in ms, number                    answers { time, granted, fence, holder,
--                                                        the replies after that number, oldest first }
--   publish  lifetime in ms, fence, number, channel, head of the message, reply,
--            whether it replaces the newest reply      answers { time, whether it was published }
--   release  lifetime in ms, fence, channel, message   answers { time }
--
-- All times are those of the server, in microseconds. All answers are texts.
local LONGEST = 16
local action, replica = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function text(number)
  return string.format('%.0f', number)
end

local function is_alive(name)
  local entry = redis.call('HGET', KEYS[1], name)
  return entry and tonumber(string.match(entry, '^%d+')) > now
end

local function process(name)
  return string.match(name, '^[^.]*')
end

if action == 'beat' then
  redis.call('HSET', KEYS[1], replica, text(now + ARGV[3] * 1000) .. ' ' .. ARGV[4])
  redis.call('PEXPIRE', KEYS[1], 3600000)
  local answer = { text(now) }
  local entries = redis.call('HGETALL', KEYS[1])
  for i = 1, #entries, 2 do
    local name, expiry, published = entries[i], string.match(entries[i + 1], '^(%d+) (%d+)$')
    local is_earlier = name ~= replica and process(name) == process(replica)
    if is_earlier or tonumber(expiry) <= now then
      redis.call('HDEL', KEYS[1], name)
    else
      answer[#answer + 1] = name
      answer[#answer + 1] = expiry
      answer[#answer + 1] = published
    end
  end
  return answer
end

if action == 'leave' then
  redis.call('HDEL', KEYS[1], replica)
end
if action == 'leave' or action == 'send' then
  redis.call('PUBLISH', ARGV[3], ARGV[4])
  return { text(now) }
end

if action == 'read' then
  return { text(now), redis.call('LRANGE', KEYS[3], 0, 0)[1] or '' }
end

local function expire()
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
end

local holder = redis.call('HGET', KEYS[2], 'holder') or ''
local fence = tonumber(redis.call('HGET', KEYS[2], 'fence') or 0)

if action == 'take' then
  local is_free = holder == '' or process(holder) == process(replica) or not is_alive(holder)
  if is_free then
    -- The time, so that fences grow even if Redis loses its data.
    holder, fence = replica, math.max(fence + 1, now)
    redis.call('HSET', KEYS[2], 'holder', holder, 'fence', text(fence))
    expire()
  end
  local answer = { text(now), is_free and '1' or '0', text(fence), holder }
  local replies = redis.call('LRANGE', KEYS[3], 0, LONGEST)
  for i = #replies, 1, -1 do
    if tonumber(string.match(replies[i], '^%d+')) > tonumber(ARGV[4]) then
      answer[#answer + 1] = replies[i]
    end
  end
  return answer
end

if action == 'publish' then
  local latest = tonumber(redis.call('HGET', KEYS[2], 'number') or 0)
  -- Without a holder, Redis has lost its data. Then the first one goes on.
  local is_holder = (holder == replica and fence == tonumber(ARGV[4]))
    or (holder == '' and fence <= tonumber(ARGV[4]))
  if not is_holder or tonumber(ARGV[5]) <= latest then
    return { text(now), '0' }
  end
  redis.call('HSET', KEYS[2], 'holder', replica, 'fence', ARGV[4], 'number', ARGV[5])
  if ARGV[9] == '1' and redis.call('LLEN', KEYS[3]) > 0 then
    redis.call('LSET', KEYS[3], 0, ARGV[8])
  else
    redis.call('LPUSH', KEYS[3], ARGV[8])
    redis.call('LTRIM', KEYS[3], 0, LONGEST - 1)
  end
  expire()
  redis.call('PUBLISH', ARGV[6], ARGV[7] .. ARGV[8])
  return { text(now), '1' }
end

-- release
if holder == replica and fence == tonumber(ARGV[4]) then
  redis.call('HDEL', KEYS[2], 'holder')
  expire()
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
return { text(now) }
