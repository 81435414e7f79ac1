-- The account of the fleet's quota. It is one hash. Each replica calls this script some ten times a
-- second, and says what it has used, what it still may use, and how many requests wait. The script
-- answers how many requests the replica may send now. src/fleet/lease.rs explains the safety.
--
-- All times are microseconds of this server's clock. A replica knows it from the answers.
-- What always holds: the requests of the latest window + the permits that replicas may still use
-- + the shares of replicas that may go on alone <= the quota.
--
-- Replicas of two versions share the account during an update. A change of the format must be one
-- that the version before can read.
local key = KEYS[1]
local name, incarnation, uses = ARGV[1], ARGV[2], ARGV[3]
local arg = {}
for i = 4, #ARGV do arg[i - 3] = tonumber(ARGV[i]) end
local number, ack, confirmed, expires, limit, burst, held, held_for, returned, unary, callers,
    hinted, routine, slow, pause, good, leaves, seen_epoch, seen_serial, own, alone_limit, fresh,
    asks = unpack(arg)

local VALID, RESERVED_AFTER, SLACK = 200000, 250000, 50000
local FRESH, GAP, NEW = 250000, 1000000, 3000000
local WATCH_SHARE, ROUTINE_SHARE = 8, 8

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lowest = limit / 16
local function most(rate) return math.max(1, math.floor(rate + 1e-6)) end
local function window(rate) return math.max(1000000, most(rate) / rate * 1000000) + SLACK end

-- Read the hash. A member is a line of numbers, its uses and its unanswered grants.
local all, members, ghosts, older = redis.call('HGETALL', key), {}, {}, {}
local total = {epoch = 0, serial = 0, last = 0}
local names = {'epoch', 'serial', 'last', 'tokens', 'refilled', 'rate', 'slowed', 'paused', 'closed',
    'vu', 'vh', 'vr', 'unary_row', 'hint_row', 'carried', 'carried_until', 'blocked', 'ghost',
    'opens', 'learns_until'}
local fields = {'share', 'own', 'confirmed', 'seen', 'unary', 'callers', 'hinted', 'routine',
    'pu', 'ph', 'pr', 'held', 'held_until', 'hold', 'forget', 'is_back', 'number'}
local function read(text, into, labels)
    local at = 1
    for word in string.gmatch(text, '[^ ]+') do
        if labels[at] then into[labels[at]] = tonumber(word) else into[at - #labels] = word end
        at = at + 1
    end
    return into
end
local function write(from, labels)
    local words = {}
    for at, label in ipairs(labels) do words[at] = string.format('%.17g', from[label] or 0) end
    return table.concat(words, ' ')
end
local function pairs_of(text)
    local list = {}
    for first, count, last in string.gmatch(text or '', '(%-?%d+):(%d+):?(%d*)') do
        list[#list + 1] = {tonumber(first), tonumber(count), tonumber(last)}
    end
    return list
end
for at = 1, #all, 2 do
    local field, text = all[at], all[at + 1]
    if field == 'total' then
        read(text, total, names)
    elseif field == 'older' then
        for word in string.gmatch(text, '[^ ]+') do older[tonumber(word)] = true end
    elseif string.sub(field, 1, 2) == 'g:' then
        local ghost = pairs_of(text)[1]
        if ghost and ghost[1] > now then ghosts[field] = ghost else redis.call('HDEL', key, field) end
    else
        local member = read(text, {}, fields)
        member.incarnation, member.uses, member.grants =
            member[1], pairs_of(member[2]), pairs_of(member[3])
        members[field] = member
    end
end

local function text(list)
    local words = {}
    for at, item in ipairs(list) do
        words[at] = string.format(item[3] and '%.0f:%d:%.0f' or '%.0f:%d', item[1], item[2], item[3])
    end
    return #words == 0 and '-' or table.concat(words, ',')
end
local function save(field, member)
    redis.call('HSET', key, field, write(member, fields) .. ' ' .. member.incarnation .. ' '
        .. text(member.uses) .. ' ' .. text(member.grants))
    redis.call('PEXPIRE', key, math.ceil(alone_limit / 1000) + 60000)
end

-- The account was restored from an old copy if a caller knows more of it than the account itself, or
-- knows another account, and this one has not heard of that.
local me = members[name]
local is_same = seen_epoch ~= 0 and seen_epoch == total.epoch
local is_other = seen_epoch ~= 0 and not is_same
local is_restored = (is_same and seen_serial > total.serial)
    or (is_other and total.epoch ~= 0 and not older[seen_epoch] and now >= total.learns_until)

-- A question that was delayed, for example by a pause of this server, describes the past. The
-- replica may have gone on alone since. It proves only that the replica exists.
local is_mine = me and me.incarnation == incarnation and not is_restored
if (expires > 0 and now > expires) or (is_mine and number <= me.number) then
    local is_known = is_mine and is_same
    if is_known then
        me.forget = math.max(me.forget, now + alone_limit + GAP)
        save(name, me)
    end
    return {-1, is_known and 1 or 0, now}
end

-- A new account knows nothing of what was granted before. It grants nothing until all replicas that
-- know an older account could call. An account that nobody has called for a while grants nothing for
-- a window. The same is true if the clock of this server was set back.
if total.epoch == 0 or is_restored or now < total.last - GAP then
    if total.epoch ~= 0 then redis.call('DEL', key) end
    members, ghosts, older, me = {}, {}, {}, nil
    total = {epoch = fresh, serial = 0, last = now, tokens = 0, refilled = now, rate = limit,
        slowed = 0, paused = 0, opens = now + VALID + window(limit), closed = 0, vu = 0, vh = 0, vr = 0,
        unary_row = 0, hint_row = 0, carried = 0, carried_until = 0, blocked = 0, ghost = 0}
    total.closed = math.max(now + NEW, total.opens)
    total.learns_until = total.closed
    is_same, is_other = false, seen_epoch ~= 0
elseif now - total.last > GAP or total.last - now > SLACK then
    total.closed = math.max(now, total.last) + VALID + window(limit)
end
now = math.max(now, total.last)
total.last, total.serial = now, total.serial + 1

-- The caller.
local function member_of(old)
    return {share = old.share, own = old.own, confirmed = old.confirmed, hold = old.hold,
        uses = {}, grants = {}, incarnation = incarnation, pu = 0, ph = 0, pr = 0, held = 0,
        held_until = 0, is_back = old.is_back, number = 0}
end
if me and me.incarnation ~= incarnation then
    -- The process was replaced. What the old one has used or may have used counts for a window.
    local count = me.held
    for _, use in ipairs(me.uses) do count = count + use[2] end
    for _, grant in ipairs(me.grants) do count = count + grant[2] end
    total.ghost = total.ghost + 1
    local field, ghost = 'g:' .. total.ghost, {now + VALID + window(lowest), count}
    ghosts[field] = ghost
    redis.call('HSET', key, field, text({ghost}))
    me.hold = now + window(limit)
    me = member_of(me)
elseif not me then
    me = member_of({share = 0, own = 0, confirmed = 0, hold = 0, is_back = 0})
end
members[name] = me
me.number, me.seen = number, now
if now >= me.hold then me.own = own end
-- The times of another account are of another clock. A replica that was not confirmed by this one may
-- be going on alone.
if is_same and confirmed > 0 then me.confirmed = math.min(confirmed, now) end
me.forget = now + alone_limit + GAP

-- The account before this one had given the quota away as shares. Whoever has not called since may
-- be going on alone.
if is_other and not older[seen_epoch] then
    older[seen_epoch] = true
    local words = {}
    for epoch in pairs(older) do words[#words + 1] = string.format('%.0f', epoch) end
    redis.call('HSET', key, 'older', table.concat(words, ' '))
end
if is_other and me.is_back == 0 then
    if total.carried_until == 0 then
        total.carried, total.carried_until = most(limit), now + alone_limit + GAP
    end
    total.carried = math.max(0, total.carried - own)
    if total.carried == 0 then total.closed = math.min(total.closed, total.opens) end
    me.is_back = 1
end
if now >= total.carried_until then total.carried = 0 end

-- Its own picture of what it has used and may use replaces what is known here. Grants that it has
-- not seen yet still count.
me.uses, me.held, me.held_until = {}, held, now + held_for
for _, use in ipairs(pairs_of(uses)) do me.uses[#me.uses + 1] = {now - use[1], use[2]} end
while me.grants[1] and me.grants[1][1] <= ack do table.remove(me.grants, 1) end
me.unary, me.callers, me.hinted, me.routine = unary, callers, hinted, routine

-- The rate that all share.
total.rate = math.min(total.rate, limit)
if slow > 0 then
    if now - total.slowed >= 1000000 then
        total.rate, total.slowed = math.max(total.rate / 2, lowest), now
    end
    total.tokens = 0
    total.paused = math.max(total.paused, now + pause)
end
total.rate = math.min(limit, total.rate + good * limit * 0.0025)
local rate, size = total.rate, most(total.rate)
local length = window(rate)
local capacity = math.max(1, math.min(burst, size))

-- What is taken.
local replicas, silent, reserved, taken, shares, outstanding = 0, 0, 0, 0, 0, 0
local next_free = now + length
for field, member in pairs(members) do
    local kept = {}
    for _, use in ipairs(member.uses) do
        if use[1] + length > now then
            taken = taken + use[2]
            next_free = math.min(next_free, use[1] + length)
        end
        if use[1] + window(lowest) > now then kept[#kept + 1] = use end
    end
    member.uses = kept
    kept = {}
    for _, grant in ipairs(member.grants) do
        if grant[3] + length > now then
            taken = taken + grant[2]
            next_free = math.min(next_free, grant[3] + length)
        end
        if grant[3] > now then outstanding = outstanding + grant[2] end
        if grant[3] + window(lowest) > now then kept[#kept + 1] = grant end
    end
    member.grants = kept
    if member.held > 0 and member.held_until + length > now then
        taken = taken + member.held
        next_free = math.min(next_free, member.held_until + length)
        if member.held_until > now then outstanding = outstanding + member.held end
    end
    local right = math.max(member.share, member.own)
    if member ~= me and now > member.forget then
        redis.call('HDEL', key, field)
        members[field] = nil
    else
        replicas = replicas + 1
        shares = shares + right
        if now > member.confirmed + RESERVED_AFTER or now < member.hold then
            reserved = reserved + right
            if right > 0 then silent = silent + 1 end
        end
    end
end
for _, ghost in pairs(ghosts) do taken = taken + ghost[2] end

-- The share with which the caller goes on alone. It grows only out of what is free.
local quota = most(limit) - total.carried
local before = 0
for field in pairs(members) do if field < name then before = before + 1 end end
local fair = math.floor(quota / replicas) + (before < quota % replicas and 1 or 0)
local right = math.max(me.share, me.own)
if fair > me.own then
    fair = now < total.closed and me.own
        or math.max(me.own, math.min(fair, quota - (shares - right)))
end
me.share = fair
if leaves == 1 then -- What it has used stays for a window.
    me.share, me.own, me.unary, me.hinted, me.routine = 0, 0, 0, 0, 0
    me.forget = now + VALID + window(lowest)
    unary, hinted, routine, asks = 0, 0, 0, 0
end

-- What may be granted.
total.tokens = total.tokens + returned
if total.blocked == 1 then
    total.tokens = math.min(total.tokens, math.max(1, returned))
end
-- Permits that are not used yet are a part of the burst.
local open = math.max(total.refilled, math.min(now, math.max(total.paused, total.closed)))
total.tokens = math.min(math.max(0, capacity - outstanding),
    total.tokens + (now - open) * rate / 1000000)
total.refilled = now
local room = size - taken - reserved - total.carried
total.blocked = room < 1 and 1 or 0
local possible = math.min(math.floor(total.tokens + 1e-6), room, 256)
if now < total.paused or now < total.closed or asks == 0 or #me.grants > 8 then possible = 0 end

-- Whose turn it is, in the order of src/traffic/quota/queue.rs: unary calls, polls with a hint, other
-- polls. Within a class, each replica gets turns in proportion to what waits there. Turns of others
-- stay theirs until they call.
local waiting = {u = {}, h = {}, r = {}}
local wait, elsewhere = {u = 0, h = 0, r = 0}, 0
local function join(class, pass, virtual, member, count, weight)
    if count <= 0 then return end
    local step = 1 / math.max(1, weight)
    member[pass] = math.max(member[pass] or 0, total[virtual] - 2 * step)
    waiting[class][#waiting[class] + 1] =
        {member = member, pass = member[pass], left = count, step = step}
    wait[class] = wait[class] + count
end
local order = {}
for field in pairs(members) do order[#order + 1] = field end
table.sort(order)
for _, field in ipairs(order) do
    local member = members[field]
    if now - member.seen <= FRESH then
        join('u', 'pu', 'vu', member, member.unary, member.callers)
        join('h', 'ph', 'vh', member, member.hinted, member.hinted)
        join('r', 'pr', 'vr', member, member.routine, member.routine)
        if member ~= me then elsewhere = elsewhere + member.unary + member.hinted + member.routine end
    end
end
local labels =
    {u = {'pu', 'vu', 'unary'}, h = {'ph', 'vh', 'hinted'}, r = {'pr', 'vr', 'routine'}}
local granted, unary_row, hint_row = 0, total.unary_row, total.hint_row
for _ = 1, possible do
    local polls = wait.h + wait.r
    local class
    if wait.u > 0 and not (polls > 0 and unary_row + 1 >= WATCH_SHARE) then
        class = 'u'
        unary_row = polls > 0 and unary_row + 1 or 0
    elseif polls > 0 then
        unary_row = 0
        if wait.h > 0 and not (wait.r > 0 and hint_row + 1 >= ROUTINE_SHARE) then
            class = 'h'
            hint_row = wait.r > 0 and hint_row + 1 or 0
        else
            class, hint_row = 'r', 0
        end
    else
        break
    end
    local entry
    for _, other in ipairs(waiting[class]) do
        if other.left > 0 and (not entry or other.pass < entry.pass) then entry = other end
    end
    entry.left, wait[class] = entry.left - 1, wait[class] - 1
    if entry.member == me then
        granted = granted + 1
        total.unary_row, total.hint_row = unary_row, hint_row
        total[labels[class][2]] = math.max(total[labels[class][2]], entry.pass)
        me[labels[class][1]] = entry.pass + entry.step
        me[labels[class][3]] = me[labels[class][3]] - 1
    end
    entry.pass = entry.pass + entry.step
end
local demand = unary + hinted + routine
-- While nobody waits, each replica gets a few permits in advance.
if demand == 0 and elsewhere == 0 and leaves == 0 then
    local advance = math.floor(capacity / (2 * replicas))
    if advance == 0 and replicas < capacity then advance = 1 end
    granted = math.max(0, math.min(advance - held, possible))
end
total.tokens = total.tokens - granted
if granted > 0 then me.grants[#me.grants + 1] = {number, granted, now + VALID} end

local retry = math.max(15000, 1500 * replicas)
if now < math.max(total.closed, total.paused) then
    retry = math.max(total.closed, total.paused) - now
elseif possible == 0 and room < 1 then
    retry = math.min(next_free - now, 100000)
elseif possible == 0 then
    retry = (1 - total.tokens) / rate * 1000000
end

redis.call('HSET', key, 'total', write(total, names))
save(name, me)
return {granted, total.epoch, total.serial, me.share, math.floor(rate * 1000),
    math.max(0, math.ceil(total.paused - now)), math.max(2000, math.ceil(retry)), replicas, silent,
    elsewhere, now}
