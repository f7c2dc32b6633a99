"""The Lua scripts by which `app.limits.redis` counts in a Redis or Valkey.

A sliding window is a hash: w, the number of its period; c, its count; p, that of the period before.
A calendar's window is a hash of counts by the period's number, so that a clock which is a little
ahead at midnight cannot begin the next period for the others. Beside it is a sorted set of what
requests in flight have taken, by the time when that expires: ``r:<id>:<period's number>:<cost>``.

Charges are sent again where no reply came, and must count once. So the hash also holds, as
``s:<worker>``, the number of the last charge of each worker; the sorted set says when to forget it.

``now`` is the server's clock, unless a test gives another. The client sends the calendar's period
by its own clock; where the server is already in the next one, or still in the one before, the
numbers say so.
"""

from __future__ import annotations

_NOW = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
"""
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
#: KEYS: for each window its counter and its reservations (of a sliding one the counter again).
#: ARGV: now, the reservation's id, its seconds; and for each window its limit, cost, seconds if it
#: slides or 0; and of a calendar's its period's number, begin, end, and the seconds it is kept.
#: Reply: the place of the first that is too full or -1, now, and for each number, count, before.
TAKE = (
    _NOW
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
    else
      redis.call('HSET', key, index, count)
      redis.call('HDEL', key, index - 1)
      if ARGV[2] ~= '' and cost > 0 then
        local member = 'r:' .. ARGV[2] .. ':' .. index .. ':' .. ARGV[7 * i - 2]
        redis.call('ZADD', reservations, now + tonumber(ARGV[3]), member)
        redis.call('EXPIREAT', reservations, forget)
      end
    end
    redis.call('EXPIREAT', key, forget)
  end
  reply[#reply + 1] = index
  reply[#reply + 1] = count
  reply[#reply + 1] = before
end
return reply
"""
)
#: Of a sliding window. ARGV: number of the period, amount. What was taken two periods ago counts
#: no more.
CHANGE = """
local kept = redis.call('HMGET', KEYS[1], 'w', 'c', 'p')
if not kept[1] then return end
local place = ({[0] = 'c', [1] = 'p'})[tonumber(kept[1]) - tonumber(ARGV[1])]
if not place then return end
local count = tonumber(place == 'c' and kept[2] or kept[3]) + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], place, math.max(0, count))
"""
#: Of a calendar's window. KEYS: its counter and its reservations. ARGV: now, the worker, the number
#: of its charge, the period's number, what was used, when to forget the counter, the seconds for
#: which a charge may be sent again, and the reservations that this settles. One that has expired is
#: no longer counted, so that what was used is charged whole.
CHARGE = (
    _NOW
    + """
local mark = 's:' .. ARGV[2]
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
#: What was used of a calendar's window, and if wanted another amount in its place; what requests in
#: flight have taken stays. KEYS: its counter and its reservations. ARGV: now, the period's number,
#: the amount or "" to leave it, and when to forget the counter. Reply: what was used.
RECONCILE = (
    _NOW
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
