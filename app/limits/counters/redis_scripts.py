"""Lua scripts with which `app.limits.counters.redis` counts in a Redis or Valkey.

A sliding window is a hash: w, the number of its period; c, its count; p, the count of the period
before. A window of the calendar is a hash of counts by the period's number: a worker whose clock is
ahead at midnight then counts in the next period, and the others still in this one. A sorted set
holds the reservations of requests in flight, by the time of their expiry, as
``r:<id>:<period's number>:<cost>``. Concurrent requests are a sorted set of their ids, by the time
of their expiry: those of a worker that is killed are counted until then.

A charge without a reply is sent again, and must be counted once. So the hash also holds, as
``s:<worker>:<period's number>``, the number of each worker's last charge of that period: one batch
may charge two periods. The sorted set holds when to remove it.

``now`` is the server's clock, unless a test gives another. The client sends the period of the
calendar by its own clock; the script corrects its number by one if the server's clock is already in
the next period, or still in the one before.
"""

from __future__ import annotations

from app.limits.redis_evaluation import NOW

_LOAD = """
local function load_sliding(key, index)
  local kept = redis.call('HMGET', key, 'w', 'c', 'p')
  local period = tonumber(kept[1])
  if period == index then return tonumber(kept[2]), tonumber(kept[3]) end
  if period == index - 1 then return 0, tonumber(kept[2]) end
  return 0, 0
end

local function expire(key, reservations, now)
  local expired = redis.call('ZRANGEBYSCORE', reservations, '-inf', now, 'LIMIT', 0, 1000)
  for _, member in ipairs(expired) do
    redis.call('ZREM', reservations, member)
    if string.sub(member, 1, 2) == 's:' then
      redis.call('HDEL', key, member)
    else
      local period, cost = string.match(member, ':(%d+):(%d+)$')
      redis.call('HINCRBY', key, period, '-' .. cost)
    end
  end
end

local function load_calendar(key, index)
  return math.max(0, tonumber(redis.call('HGET', key, index) or 0))
end
"""
#: Take from all windows, or from none. KEYS: for each window its counter and its reservations (for
#: any other one the counter twice). ARGV: now, the reservation's id and seconds; then for each
#: window its limit, cost, seconds if it slides, 0 if it is of the calendar or -1 if it is that of
#: concurrent requests; and for one of the calendar its period's number, start, end, and the seconds
#: for which it is kept (else 0). Reply: the index of the first window that is too full or -1, now;
#: then for each window number, count, count before.
TAKE = (
    NOW
    + _LOAD
    + """
local refused, found = -1, {}
for i = 1, #KEYS / 2 do
  local key, reservations, a = KEYS[2 * i - 1], KEYS[2 * i], 7 * i - 3
  local limit, cost, seconds = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local index, count, before, used, forget
  if seconds > 0 then
    index = math.floor(now / seconds)
    count, before = load_sliding(key, index)
    used = math.floor(before * ((index + 1) * seconds - now) / seconds + count)
    forget = (index + 2) * seconds
  elseif seconds < 0 then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    index, count, before = 0, redis.call('ZCARD', key), 0
    used = count
  else
    index = tonumber(ARGV[a + 3])
    if now < tonumber(ARGV[a + 4]) then index = index - 1 end
    if now >= tonumber(ARGV[a + 5]) then index = index + 1 end
    expire(key, reservations, now)
    count, before = load_calendar(key, index), 0
    used = count
    forget = math.ceil(tonumber(ARGV[a + 5])) + tonumber(ARGV[a + 6])
  end
  if refused < 0 and used + cost > limit then refused = i - 1 end
  found[i] = {key, reservations, index, count, before, cost, seconds, forget}
end
local reply = {refused, string.format('%.6f', now)}
for i = 1, #found do
  local key, reservations, index, count, before, cost, seconds, forget = unpack(found[i])
  if refused < 0 then
    count = count + cost
    if seconds > 0 then
      redis.call('HSET', key, 'w', index, 'c', count, 'p', before)
    elseif seconds < 0 then
      if ARGV[2] ~= '' and cost > 0 then
        redis.call('ZADD', key, now + tonumber(ARGV[3]), ARGV[2])
        local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
        forget = math.ceil(tonumber(last[2])) + 1
      end
    else
      redis.call('HSET', key, index, count)
      redis.call('HDEL', key, index - 1)
      if ARGV[2] ~= '' and cost > 0 then
        local member = 'r:' .. ARGV[2] .. ':' .. index .. ':' .. ARGV[7 * i - 2]
        redis.call('ZADD', reservations, now + tonumber(ARGV[3]), member)
        redis.call('EXPIREAT', reservations, forget)
      end
    end
    if forget then redis.call('EXPIREAT', key, forget) end
  end
  reply[#reply + 1] = index
  reply[#reply + 1] = count
  reply[#reply + 1] = before
end
return reply
"""
)
#: Correct a sliding window. ARGV: number of the period, amount. A period two or more before the
#: window's is no longer counted, so it is not corrected.
CHANGE = """
local kept = redis.call('HMGET', KEYS[1], 'w', 'c', 'p')
if not kept[1] then return end
local place = ({[0] = 'c', [1] = 'p'})[tonumber(kept[1]) - tonumber(ARGV[1])]
if not place then return end
local count = tonumber(place == 'c' and kept[2] or kept[3]) + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], place, math.max(0, count))
"""
#: Remove a request from the concurrent ones. ARGV: its id.
END = "return redis.call('ZREM', KEYS[1], ARGV[1])"
#: Charge a window of the calendar, and settle reservations. KEYS: its counter and its reservations.
#: ARGV: now, the worker, the number of its charge, the period's number, the usage, when to remove
#: the counter, the seconds for which a charge may be sent again, and the reservations. An expired
#: reservation is no longer counted, so that nothing is deducted for it.
CHARGE = (
    NOW
    + """
local mark = 's:' .. ARGV[2] .. ':' .. ARGV[4]
if redis.call('HGET', KEYS[1], mark) == ARGV[3] then return 0 end
local amount = tonumber(ARGV[5])
for i = 8, #ARGV do
  if redis.call('ZREM', KEYS[2], ARGV[i]) == 1 then
    amount = amount - tonumber(string.match(ARGV[i], '%d+$'))
  end
end
redis.call('HINCRBY', KEYS[1], ARGV[4], string.format('%.0f', amount))
redis.call('HSET', KEYS[1], mark, ARGV[3])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[7]), mark)
redis.call('EXPIREAT', KEYS[1], ARGV[6])
redis.call('EXPIREAT', KEYS[2], ARGV[6])
return 1
"""
)
#: Read the usage of a window of the calendar, and optionally replace it; reservations stay counted.
#: KEYS: its counter and its reservations. ARGV: now, the period's number, the new usage or "" to
#: keep it, and when to remove the counter. Reply: the usage before.
RECONCILE = (
    NOW
    + _LOAD
    + """
expire(KEYS[1], KEYS[2], now)
local reserved = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local period, cost = string.match(member, '^r:.*:(%d+):(%d+)$')
  if period == ARGV[2] then reserved = reserved + tonumber(cost) end
end
local count = load_calendar(KEYS[1], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', tonumber(ARGV[3]) + reserved))
  redis.call('EXPIREAT', KEYS[1], ARGV[4])
end
return math.max(0, count - reserved)
"""
)
